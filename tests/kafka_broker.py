"""The broker of a test run: one for all processes of the run, started by the first test that wants it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.broker import Broker, Cluster, end_process
from tests.broker_jars import BrokerError

#: Address of a broker that runs already.
ADDRESS = "FERRIS_TEST_KAFKA"
#: Folder that the processes of a run share.
_FOLDER = "FERRIS_TEST_RUN"

#: The process that directs the run.
_DIRECTOR = "FERRIS_TEST_DIRECTOR"

_started: list[Broker] = []
_watches: list[subprocess.Popen[bytes]] = []


def begin_run() -> None:
    """In the process that directs the run, before its workers start."""
    os.environ[_FOLDER] = tempfile.mkdtemp(prefix="ferris-run-")
    os.environ[_DIRECTOR] = str(os.getpid())


def end_run() -> None:
    """In the process that directs the run, after its workers have ended: the broker goes too."""
    folder = Path(os.environ.pop(_FOLDER))
    if _started:
        _started.pop().stop()
    elif (pid := folder / "pid").exists():
        end_process(int(pid.read_text()))
    shutil.rmtree(folder, ignore_errors=True)


def run_cluster() -> Cluster:
    """The run's broker. In CI its absence is a failure, elsewhere the test is skipped."""
    if given := os.environ.get(ADDRESS):
        return Cluster(given)
    try:
        return Cluster(_address(Path(os.environ[_FOLDER])))
    except BrokerError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no broker: {error}")


def _address(folder: Path) -> str:
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        address = folder / "address"
        if not address.exists():
            broker = Broker(folder / "broker")
            broker.start()
            _started.append(broker)
            _watch(broker, folder)
            (folder / "pid").write_text(str(broker.pid))
            address.write_text(broker.bootstrap_servers)
        return address.read_text()


def _watch(broker: Broker, folder: Path) -> None:
    """A run that is killed leaves no broker behind: a process of its own ends it when the run's director is gone."""
    director = os.environ[_DIRECTOR]
    alive = f"kill -0 {director} 2>/dev/null && kill -0 {broker.pid} 2>/dev/null"
    script = f"while {alive}; do sleep 2; done; kill {broker.pid} 2>/dev/null; rm -rf '{folder}'"
    null = subprocess.DEVNULL
    _watches.append(
        subprocess.Popen(["sh", "-c", script], stdin=null, stdout=null, stderr=null, start_new_session=True)
    )
