"""Write `requirements.lock`: every package that the checkout needs, pinned, with the hashes of its wheels.

The versions are resolved once, by pip, for the Python that runs this; 3.11 needs every package. The hashes are asked of
the registry for each platform below, without downloading a wheel. The file names no registry: pip uses the one that it
is configured for.
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

from packaging.markers import Marker
from packaging.requirements import Requirement

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
    LOCK.write_text(HEADER + "".join(locked(pins)))


def markers() -> dict[str, Marker]:
    """Of the packages that only some Pythons need, which ones (`python_version < '3.14'`)."""
    asked = [Requirement(text) for text in wanted()]
    return {requirement.name.lower(): requirement.marker for requirement in asked if requirement.marker is not None}


def locked(pins: list[str]) -> list[str]:
    """The lines of the file for these packages."""
    only = markers()
    hashes: dict[str, set[str]] = defaultdict(set)
    with tempfile.TemporaryDirectory() as target:
        for python in PYTHONS:
            for tags in platforms():
                options = ["--no-deps", "--only-binary=:all:", "--target", target, "--python-version", python]
                for tag in tags:
                    options += ["--platform", tag]
                print(f"{python} {tags[0]}", file=sys.stderr)
                for package in pip_report([pin for pin in pins if is_for(pin, python, only)], *options):
                    name = f"{package['metadata']['name'].lower()}=={package['metadata']['version']}"
                    hashes[name].add(package["download_info"]["archive_info"]["hashes"]["sha256"])
    lines = []
    for pin in pins:
        marker = only.get(pin.split("==")[0])
        head = f"{pin} ; {marker}" if marker is not None else pin
        lines.append(" \\\n    ".join([head, *(f"--hash=sha256:{h}" for h in sorted(hashes[pin]))]) + "\n")
    return lines


def is_for(pin: str, python: str, only: dict[str, Marker]) -> bool:
    """Whether this Python needs the package."""
    marker = only.get(pin.split("==")[0])
    return marker is None or marker.evaluate({"python_version": python, "python_full_version": f"{python}.0"})


if __name__ == "__main__":
    main()
