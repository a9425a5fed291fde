"""Make `.venv` in the checkout: what `requirements.lock` pins, and the `ferris` command.

Does nothing when all is there. Needs Python 3.11 and a package registry, nothing else; run by any Python 3.11 or later.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "setup.stamp"


def wanted_stamp() -> str:
    """Changes when the lock file, the package's declaration, or the place of the checkout changes."""
    parts = [str(ROOT).encode(), *((ROOT / name).read_bytes() for name in ("requirements.lock", "pyproject.toml"))]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def works() -> bool:
    """True when the environment's Python starts and belongs to this place (an environment cannot be moved)."""
    if not PYTHON.exists():
        return False
    probe = subprocess.run(
        [PYTHON, "-c", "import pip, sys; print(sys.prefix)"], capture_output=True, text=True, check=False
    )
    return probe.returncode == 0 and Path(probe.stdout.strip()) == VENV and _scripts_are_at_home()


def _scripts_are_at_home() -> bool:
    script = VENV / "bin" / "pip"
    return script.exists() and str(VENV) in script.read_text(errors="replace")


def create() -> None:
    """A new environment with pip, also where the system's Python comes without `ensurepip`."""
    say("making .venv with Python " + sys.version.split()[0])
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        run(sys.executable, "-m", "venv", "--clear", "--without-pip", VENV)
        run(sys.executable, "-m", "pip", "--python", PYTHON, "install", "--quiet", "pip")


def install() -> None:
    say("installing what requirements.lock pins")
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, "--require-hashes", "--requirement", ROOT / "requirements.lock")
    run(*pip, "--no-deps", "--no-build-isolation", "--editable", ROOT)


def run(*command: str | Path) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        sys.exit(f"setup: failed: {' '.join(map(str, command))}")


def say(text: str) -> None:
    print(f"setup: {text}", flush=True)


def main() -> None:
    stamp = wanted_stamp()
    if STAMP.exists() and STAMP.read_text() == stamp and (VENV / "bin" / "ferris").exists() and works():
        return
    if not works():
        create()
    install()
    STAMP.write_text(stamp)
    say("done: .venv/bin/ferris is the command")


if __name__ == "__main__":
    main()
