"""The broker's jars: fetched by Maven once, kept in the user's cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

_POM = Path(__file__).with_name("broker-pom.xml")


class BrokerError(Exception):
    """A broker cannot be started."""


def broker_jars() -> Path:
    """The folder of jars, filled on the first call. Two processes may ask at once.

    Raises BrokerError when java or mvn is missing or the jars cannot be fetched.
    """
    require("java")
    pom = _POM.read_bytes()
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ferrisstreams"
    folder = root / f"broker-{hashlib.sha256(pom).hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    root.mkdir(parents=True, exist_ok=True)
    with (root / "broker.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _fetch(pom, folder)
    return folder


def _fetch(pom: bytes, folder: Path) -> None:
    maven = require("mvn")
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        Path(work, "pom.xml").write_bytes(pom)
        jars = Path(work, "jars")
        command = [maven, "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
        done = subprocess.run(command, cwd=work, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not list(jars.glob("*.jar")):
            raise BrokerError(
                f"the broker's jars cannot be fetched: {(done.stdout + done.stderr).strip()[-500:]}"
                " (Maven needs a registry that it reaches)"
            )
        # The folder appears whole or not at all.
        jars.rename(folder)


def require(program: str) -> str:
    """The program's path. Raises BrokerError."""
    found = shutil.which(program)
    if found is None:
        raise BrokerError(
            f"the program {program} is missing: install Java 17 or later and Maven, or name a running broker in"
            " FERRIS_TEST_KAFKA"
        )
    return found
