"""Installs the rivals apart from everything: each into a folder of its own in the user's cache, once.

The folder's name has a hash of what is installed, so a changed pin is a new folder. Nothing here is imported by the
package, and nothing is installed into the checkout's environment.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar
from xml.etree import ElementTree

Found = TypeVar("Found")

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ferrisstreams" / "benchmarks"

FLINK_PACKAGES = ("apache-flink==2.2.1",)
FLINK_CONNECTOR = "org.apache.flink:flink-sql-connector-kafka:5.0.0-2.2"
QUIX_PACKAGES = ("quixstreams==3.28.1",)
KAFKA_STREAMS_SOURCE = Path(__file__).resolve().parent / "kafka_streams"


class InstallError(Exception):
    """A rival cannot be installed here; the text says why."""


def remembered(install: Callable[[], Found]) -> Callable[[], Found]:
    """Tries once in a process; what could not be installed is refused at once the next time."""
    outcomes: list[Found | InstallError] = []

    def ask() -> Found:
        if not outcomes:
            try:
                outcomes.append(install())
            except InstallError as absent:
                outcomes.append(absent)
        (outcome,) = outcomes
        if isinstance(outcome, InstallError):
            raise InstallError(*outcome.args)
        return outcome

    return ask


@remembered
def flink() -> tuple[Path, Path]:
    """Flink's Python, and the folder that holds the connector's jar. Raises InstallError."""
    _require("java", "mvn")
    jars = _once("flink-jars", FLINK_CONNECTOR, lambda folder: _maven_copy(FLINK_CONNECTOR, folder))
    return _environment("flink", FLINK_PACKAGES), jars


@remembered
def quix() -> Path:
    """The Python that has Quix Streams. Raises InstallError."""
    return _environment("quix", QUIX_PACKAGES)


@remembered
def kafka_streams() -> Path:
    """The folder of the jars: the program, Kafka Streams and what that needs. Raises InstallError."""
    _require("java", "mvn")
    files = sorted(path for path in KAFKA_STREAMS_SOURCE.rglob("*") if path.is_file())
    text = "".join(path.read_text("utf-8") for path in files)
    return _once("kafka-streams", text, _maven_package)


def kafka_streams_version() -> str:
    """The version that the program's `pom.xml` names."""
    space = {"m": "http://maven.apache.org/POM/4.0.0"}
    tree = ElementTree.parse(KAFKA_STREAMS_SOURCE / "pom.xml")
    named = {
        one.findtext("m:artifactId", "", space): one.findtext("m:version", "", space)
        for one in tree.iterfind(".//m:dependency", space)
    }
    return named["kafka-streams"]


def _environment(name: str, packages: Sequence[str]) -> Path:
    def fill(folder: Path) -> None:
        python = folder / "bin" / "python"
        _run(sys.executable, "-m", "venv", "--without-pip", folder)
        _run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-input", *packages)

    # An environment cannot be moved, so it is filled in its place and marked when it is whole.
    folder = _folder(name, "\n".join(packages))
    whole = folder / "whole"
    if not whole.exists():
        shutil.rmtree(folder, ignore_errors=True)
        fill(folder)
        whole.touch()
    return folder / "bin" / "python"


def _once(name: str, identity: str, fill: Callable[[Path], None]) -> Path:
    """A folder that appears whole or not at all."""
    folder = _folder(name, identity)
    if not folder.exists():
        unfinished = folder.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        fill(unfinished)
        unfinished.rename(folder)
    return folder


def _maven_copy(artifact: str, folder: Path) -> None:
    _run("mvn", "-q", "-B", "dependency:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={folder}")


def _maven_package(folder: Path) -> None:
    project = folder / "project"
    shutil.copytree(KAFKA_STREAMS_SOURCE, project)
    _run("mvn", "-q", "-B", "-f", project, "package", "dependency:copy-dependencies", f"-DoutputDirectory={folder}")
    for jar in (project / "target").glob("*.jar"):
        jar.rename(folder / jar.name)
    shutil.rmtree(project)


def _folder(name: str, identity: str) -> Path:
    return CACHE / f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


def _require(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise InstallError(f"{' and '.join(missing)} not found")


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        # Maven's first error is a heading; all of them say more.
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        telling = [line for line in lines if "error" in line.lower()] or lines[-1:]
        raise InstallError(f"{Path(command[0]).name} ended with {done.returncode}: {' '.join(telling)[:300]}")
