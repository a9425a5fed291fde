"""A real Kafka broker of one node, for tests and for trying things out."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from ferrisstreams.clock import SystemClock
from ferrisstreams.connectors.kafka.records import Record
from ferrisstreams.connectors.kafka.topics import NewTopicSettings, Topics
from ferrisstreams.errors import TransientError
from tests.broker_jars import BrokerError, broker_jars, require
from tests.topic_records import read_records, write_records
from tests.wire import Wire

__all__ = ["Broker", "Cluster", "Record"]

_HEAP = ("-Xmx512m", "-XX:+UseSerialGC")
#: Compile a little: half the processor time of a broker that runs for some minutes.
_BRIEF = "-XX:TieredStopAtLevel=1"
_NAP_MS = 50.0
#: A broker is ready in 2 to 3 seconds; on a busy machine it takes longer.
_READY_NAPS_MAX = 1200
_STOP_NAPS_MAX = 400

#: Everything small and quick: one replica, one partition of the cluster's own topics, nothing deleted by age.
_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "num.partitions": "1",
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
    "group.initial.rebalance.delay.ms": "0",
    "auto.create.topics.enable": "false",
    "log.retention.ms": "-1",
    "log.cleaner.backoff.ms": "200",
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "200",
    "controller.quorum.election.timeout.ms": "100",
    "controller.quorum.fetch.timeout.ms": "200",
    "controlled.shutdown.enable": "false",
}

#: How often a topic is asked for: each time the client waits for the controller as long as for any request.
CREATIONS_MAX = 4


class Cluster:
    """A cluster by its address: topics and records, for assertions."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers

    @property
    def properties(self) -> dict[str, str]:
        """What a client needs to reach it."""
        return {"bootstrap.servers": self.bootstrap_servers}

    @property
    def topics(self) -> Topics:
        """Make, delete and change topics."""
        return Topics(self.properties)

    def create_topic(self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        """Make a topic that keeps everything, and give its name back; a broker that was stopped may take a while."""
        settings = NewTopicSettings(partitions, {"retention.ms": "-1", **(config or {})})
        for _ in range(CREATIONS_MAX):
            try:
                self.topics.create(name, settings)
            except TransientError as error:
                failed = error
            else:
                return name
        raise failed

    def write(self, topic: str, records: Iterable[Record | bytes | None]) -> None:
        """Write records, or bare values."""
        write_records(
            self.properties, topic, (record if isinstance(record, Record) else Record(record) for record in records)
        )

    def read(self, topic: str, committed_only: bool = True) -> list[Record]:
        """All records that the topic holds now, by partition and offset."""
        return read_records(self.properties, topic, committed_only)


@dataclass(frozen=True, slots=True)
class _Ports:
    broker: int
    controller: int


class Broker(Cluster):
    """A broker in a process of its own; its data, log and settings are in `folder`.

    `start` begins it on free ports and waits until it answers; `stop` and `kill` end it, `start` again begins it with
    the same data on the same port. Used as a context it is started, and stopped at the end. Raises BrokerError
    when it cannot be started.

    With a `wire` all clients reach it through that. A `measured` one is compiled as well as it can be.
    """

    def __init__(self, folder: Path | None = None, wire: Wire | None = None, measured: bool = False) -> None:
        self._options = _HEAP if measured else (*_HEAP, _BRIEF)
        self._owned = tempfile.TemporaryDirectory(prefix="ferris-broker-") if folder is None else None
        self.folder = Path(self._owned.name) if self._owned is not None else Path(folder or "")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._ports = _free_ports()
        self._process: subprocess.Popen[bytes] | None = None
        self._clock = SystemClock()
        if wire is not None:
            wire.lead_to(self._ports.broker)
        super().__init__(f"127.0.0.1:{self._ports.broker if wire is None else wire.port}")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._owned is not None:
            self._owned.cleanup()

    @property
    def pid(self) -> int | None:
        """The process; None when it does not run."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start and wait until it answers."""
        assert self._process is None, "the broker runs"
        classes = f"{broker_jars()}/*"
        settings = self.folder / "server.properties"
        if not settings.exists():
            self._format(classes, settings)
        with (self.folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                [require("java"), *self._options, "-cp", classes, "kafka.Kafka", str(settings)],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait_until_ready(self._process)

    def stop(self) -> None:
        """End it in an orderly way; nothing to do when it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Let it answer nothing until `thaw`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        process.send_signal(signal.SIGCONT)
        process.send_signal(how)
        try:
            process.wait(_STOP_NAPS_MAX * _NAP_MS / 1000)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _format(self, classes: str, settings: Path) -> None:
        own = {
            "controller.quorum.voters": f"1@127.0.0.1:{self._ports.controller}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self._ports.broker},CONTROLLER://127.0.0.1:{self._ports.controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap_servers}",
            "log.dirs": str(self.folder / "data"),
        }
        settings.write_text("".join(f"{name}={value}\n" for name, value in (_PROPERTIES | own).items()))
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = [_BRIEF, "-cp", classes, "kafka.tools.StorageTool", "format"]
        done = subprocess.run(
            [require("java"), *command, f"--cluster-id={cluster}", f"--config={settings}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise _cannot_start((done.stdout + done.stderr).strip())

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        for _ in range(_READY_NAPS_MAX):
            if process.poll() is not None:
                self._process = None
                raise _cannot_start((self.folder / "broker.log").read_text("utf-8", "replace")[-1000:])
            with suppress(OSError), closing(socket.create_connection(("127.0.0.1", self._ports.broker), 1)):
                self.topics.names()
                return
            self._clock.sleep_ms(_NAP_MS)
        self.kill()
        raise _cannot_start("it does not answer")


def end_process(pid: int) -> None:
    """End a broker that another process has started."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


def _free_ports() -> _Ports:
    with closing(socket.socket()) as first, closing(socket.socket()) as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return _Ports(first.getsockname()[1], second.getsockname()[1])


def _cannot_start(why: str) -> BrokerError:
    return BrokerError(f"the broker cannot be started: {why} (is Java 17 or later installed?)")
