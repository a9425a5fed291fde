"""Write `requirements.lock`: every package that the checkout needs, pinned, with the hashes of its wheels.

The versions are resolved once, by pip, for the Python that runs this. The hashes are asked of the registry for each
platform below, without downloading a wheel. The file names no registry: pip uses the one that it is configured for.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
#: glibc versions that wheels are tagged for, newest first; "1", "2010" and "2014" are the old names.
GLIBC = ("2_39", "2_34", "2_31", "2_28", "2_27", "2_26", "2_24", "2_17", "2014", "2_12", "2010", "2_5", "1")
HEADER = "# Made by `make lock` from pyproject.toml; not to be edited. Installed with `pip install --require-hashes`.\n"


def platforms() -> list[tuple[str, ...]]:
    """Tags for pip's `--platform`, best first, one tuple a kind of machine."""
    tagged = [tuple(f"manylinux{'_' if '_' in v else ''}{v}_{arch}" for v in GLIBC) for arch in ("x86_64", "aarch64")]
    older = [tuple(tag for tag in tags[GLIBC.index("2_28") :]) for tags in tagged]
    return [*tagged, *older, tuple(f"macosx_{v}_arm64" for v in ("14_0", "13_0", "12_0", "11_0"))]


def pip_report(requirements: list[str], *options: str) -> list[dict[str, Any]]:
    """What pip would install: a mapping a package, with `metadata` and `download_info`."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        subprocess.run([*command, "--report", report, *options, *requirements], check=True)
        found: list[dict[str, Any]] = json.loads(report.read_text())["install"]
        return found


def wanted() -> list[str]:
    """What `pyproject.toml` asks for: to run, to develop, and to build."""
    content = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = content["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["dev"], *content["build-system"]["requires"]]


def main() -> None:
    pins = sorted(f"{p['metadata']['name'].lower()}=={p['metadata']['version']}" for p in pip_report(wanted()))
    hashes: dict[str, set[str]] = defaultdict(set)
    with tempfile.TemporaryDirectory() as target:
        for python in PYTHONS:
            for tags in platforms():
                options = ["--no-deps", "--only-binary=:all:", "--target", target, "--python-version", python]
                for tag in tags:
                    options += ["--platform", tag]
                print(f"{python} {tags[0]}", file=sys.stderr)
                for package in pip_report(pins, *options):
                    name = f"{package['metadata']['name'].lower()}=={package['metadata']['version']}"
                    hashes[name].add(package["download_info"]["archive_info"]["hashes"]["sha256"])
    lines = [" \\\n    ".join([pin, *(f"--hash=sha256:{h}" for h in sorted(hashes[pin]))]) for pin in pins]
    LOCK.write_text(HEADER + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
