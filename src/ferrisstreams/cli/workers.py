"""Several jobs of one application: a worker process each, side by side (`session/side_by_side.py`).

A worker is this command again, with `--job` and `--worker`, forked from a server that has what this process had
imported and that has opened nothing: it writes its log and progress as JSON lines on standard error, and its summary as
the last line of standard output.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from threading import Lock, Thread
from typing import IO

from ferrisstreams.cli.application import STANDARD_INPUT
from ferrisstreams.cli.arguments import RunArguments, RunOutput
from ferrisstreams.cli.failure import as_json, paint
from ferrisstreams.cli.messages import PROGRESS, pass_on
from ferrisstreams.cli.signals import stopping_on_signal
from ferrisstreams.cli.summary import JobSummary
from ferrisstreams.cli.views import View
from ferrisstreams.errors import FatalConnectorError, FerrisError
from ferrisstreams.plan.nodes import JobPlan
from ferrisstreams.runtime.observer import Observer
from ferrisstreams.session.side_by_side import SideBySide, start_all
from ferrisstreams.workers.fork_server import ForkedProcess, ForkedServer, ForkServer, Request

#: Asks a worker to stop. One that has not begun dies of it, and says nothing, as Python does of SIGINT.
_STOP = signal.SIGTERM


def fork_server() -> ForkServer:
    """The server from which workers are forked; to be called before this process opens anything."""
    return ForkedServer("ferrisstreams.cli.main:main")


def run_in_workers(
    jobs: Sequence[JobPlan], arguments: RunArguments, text: str, view: View, server: ForkServer
) -> list[JobSummary]:
    """Run every job and give their summaries in the order of `jobs`. Workers are given `text`, the application's SQL,
    when the file is standard input."""
    group = WorkerGroup(view, server)
    given = worker_input(arguments, text)
    workers = {job.name: Worker(job.name, Start(worker_command(arguments, job.name), given), group) for job in jobs}
    start_all(jobs, workers, arguments.once)
    with stopping_on_signal(group.stop, group.kill, view.tell_stopping):
        for worker in workers.values():
            worker.wait()
    return [worker.summary for worker in workers.values()]


def worker_input(arguments: RunArguments, text: str) -> str:
    """What a worker is given on standard input."""
    return text if arguments.file == STANDARD_INPUT else ""


def worker_command(arguments: RunArguments, job: str) -> list[str | int]:
    command: list[str | int] = ["ferris", "run", arguments.file, "--worker", "--job", job]
    command += ["--once"] * arguments.once + ["--drain"] * arguments.drain + ["--overwrite"] * arguments.overwrite
    if arguments.max_records is not None:
        command += ["--max-records", str(arguments.max_records)]
    if arguments.state_dir is not None:
        command += ["--state-dir", str(arguments.state_dir)]
    command += ["--output", "csv"] * (arguments.output is RunOutput.CSV)
    for setting in arguments.settings or ():
        command += ["--set", setting]
    return command


@dataclass(frozen=True, slots=True)
class Start:
    """The command of a worker and its input."""

    command: Sequence[str | int]
    text: str


class WorkerGroup:
    """What workers share: the view, standard output, their server, and whether a stop was asked for."""

    def __init__(self, view: View, server: ForkServer) -> None:
        self.lock = Lock()
        self.server = server
        self.view = view
        self.stopping = False
        self.killed = False
        self.processes: list[ForkedProcess] = []

    def write(self, lines: bytes) -> None:
        """Whole lines to standard output; through a buffer, because a bare stream may take a part only."""
        with self.lock, open(sys.stdout.fileno(), "wb", closefd=False) as out:
            out.write(lines)

    def tell(self, name: str, **fields: object) -> None:
        with self.lock:
            self.view.event(name, **fields)

    def stop(self) -> None:
        self.stopping = True
        self._signal(_STOP)

    def kill(self) -> None:
        self.killed = True
        self._signal(signal.SIGKILL)

    def add(self, process: ForkedProcess) -> None:
        """From now on it hears of a stop; at once when one was asked for already."""
        self.processes.append(process)
        if self.stopping:
            process.send_signal(_STOP)

    def _signal(self, number: signal.Signals) -> None:
        for process in tuple(self.processes):
            process.send_signal(number)


class Worker(SideBySide):
    """A job, or one of its workers, in a process; keeps its summary.

    `observer` hears what the process reports; `number`: which of the job's workers it is. The error of such a one is
    left to the one who asks for the summary.
    """

    def __init__(
        self, job: str, start: Start, group: WorkerGroup, observer: Observer | None = None, number: int | None = None
    ) -> None:
        super().__init__(job)
        self.number = number
        self.summary = JobSummary(job, "stopped")
        self._start = start
        self._group = group
        self._observer = observer or group.view

    @property
    def failed(self) -> bool:
        return self.summary.state == "failed"

    def tell_wait(self, jobs: Sequence[str]) -> None:
        self._group.tell("job_waits", job=self.job, until_finished=list(jobs))

    def run(self, while_open: int | None) -> None:
        if self._group.stopping:
            return
        command = [*self._start.command]
        command += ["--while-open", while_open] if while_open is not None else []
        request = Request(command, os.getcwd(), {**os.environ})
        (stdin, given), (rows, stdout), (said, stderr) = os.pipe(), os.pipe(), os.pipe()
        try:
            process = self._group.server.fork(request, (stdin, stdout, stderr))
        except FerrisError as error:
            for descriptor in (given, rows, said):
                os.close(descriptor)
            self.refuse(error)
            return
        finally:
            for descriptor in (stdin, stdout, stderr):
                os.close(descriptor)
        self._group.add(process)
        with open(rows, "rb") as out, open(said, "rb") as err:
            with suppress(BrokenPipeError), open(given, "wb") as text:  # one that is gone says why by its exit code
                text.write(self._start.text.encode())
            log = Thread(target=self._read_log, args=(err,), daemon=True)
            log.start()
            last = self._forward_rows(out)
            log.join()
        try:
            code = process.wait()
        except FerrisError as error:
            self.refuse(error)
        else:
            self._conclude(last, code)
        finally:
            self._group.processes.remove(process)
            if self.number is None:
                with self._group.lock:
                    self._group.view.tell_end(self.job, self.summary.state)

    def _conclude(self, last: bytes, code: int) -> None:
        if last.startswith(b'{"jobs": ['):
            said = json.loads(last)
            failed = JobSummary(self.job, "failed", error=said.get("error"))
            self.summary = JobSummary(**said["jobs"][0]) if said["jobs"] else failed
        elif not self._group.killed and (not self._group.stopping or _crashed(code)):
            self.refuse(_ended(self._name, code))

    @property
    def _name(self) -> str:
        return f"the worker of job '{self.job}'" if self.number is None else f"worker {self.number} of job '{self.job}'"

    def refuse(self, error: FerrisError) -> None:
        if self.number is None:
            with self._group.lock:
                sys.stderr.write(paint(str(error)) + "\n")
        self.summary = JobSummary(self.job, "failed", error=as_json(error))

    def _forward_rows(self, stream: IO[bytes]) -> bytes:
        """Pass on all lines but the last, which is the summary. Closes the stream when nobody reads ours any more."""
        assert isinstance(stream, BufferedReader)
        held = b""
        while piece := stream.read1():
            held += piece
            lines = held.rfind(b"\n", 0, len(held) - 1) + 1
            try:
                self._group.write(held[:lines])
            except BrokenPipeError:
                stream.close()
                return b""
            held = held[lines:]
        return held

    def _read_log(self, stream: IO[bytes]) -> None:
        for line in stream:
            text = line.decode("utf-8", "replace")
            with self._group.lock:
                event = pass_on(text, self._observer)
                if event is None:
                    sys.stderr.write(text)
                elif event == PROGRESS:
                    self.running.set()


def _crashed(code: int) -> bool:
    """Whether a worker that was asked to stop died of something else; one that had not begun dies of the signal."""
    return code < 0 and code != -_STOP


def _ended(who: str, code: int) -> FerrisError:
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return FatalConnectorError(
        f"{who} ended without a result ({how})", "E6004", "run again: it resumes where it stopped"
    )
