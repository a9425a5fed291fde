"""Several jobs of one application: a worker process each, side by side, in the order of their dependence.

A worker is this command again, with `--job` and `--worker`: it writes its log and progress as JSON lines on standard
error, and its summary as the last line of standard output. One that fails does not stop the others; a job that reads
what a failed one writes is not started.

A job that reads what an endless one writes runs beside it, from when that one runs: it holds one end of a pipe, and
when the other is closed, because those that feed it have ended, it reads what is left and ends too.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from threading import Event, Lock, Thread
from typing import IO

from ferrisstreams.cli.application import STANDARD_INPUT
from ferrisstreams.cli.arguments import RunArguments
from ferrisstreams.cli.failure import as_json, paint
from ferrisstreams.cli.messages import PROGRESS, pass_on
from ferrisstreams.cli.signals import stopping_on_signal
from ferrisstreams.cli.summary import JobSummary
from ferrisstreams.errors import FatalConnectorError, FerrisError
from ferrisstreams.plan.nodes import JobPlan
from ferrisstreams.runtime.observer import Observer

#: Asks a worker to stop. One that has not begun dies of it, and says nothing, as Python does of SIGINT.
_STOP = signal.SIGTERM

#: Seconds between two looks at the signals while workers run.
_JOIN_SECONDS = 0.2


def run_in_workers(jobs: Sequence[JobPlan], arguments: RunArguments, text: str, observer: Observer) -> list[JobSummary]:
    """Run every job and give their summaries in the order of `jobs`. Workers are given `text`, the application's SQL,
    when the file is standard input."""
    group = WorkerGroup(observer)
    workers = {job.name: Worker(job.name, group, observer) for job in jobs}
    endless = {job.name for job in jobs if job.endless and not arguments.once}
    for job in jobs:
        names = [name for name in job.depends_on if name in workers]
        beside = [workers[name] for name in names if name in endless and name in job.fed_by]
        before = [workers[name] for name in names if workers[name] not in beside]
        start = Start(worker_command(arguments, job.name), worker_input(arguments, text), before, beside)
        workers[job.name].start(start)
    with stopping_on_signal(group.stop, group.kill):
        for worker in workers.values():
            while not worker.ended.wait(_JOIN_SECONDS):
                pass
    return [worker.summary for worker in workers.values()]


def worker_input(arguments: RunArguments, text: str) -> str:
    """What a worker is given on standard input."""
    return text if arguments.file == STANDARD_INPUT else ""


def worker_command(arguments: RunArguments, job: str) -> list[str]:
    command = [sys.executable, "-m", "ferrisstreams.cli.main", "run", arguments.file, "--worker", "--job", job]
    command += ["--once"] * arguments.once + ["--drain"] * arguments.drain + ["--overwrite"] * arguments.overwrite
    if arguments.max_records is not None:
        command += ["--max-records", str(arguments.max_records)]
    if arguments.state_dir is not None:
        command += ["--state-dir", str(arguments.state_dir)]
    for setting in arguments.settings or ():
        command += ["--set", setting]
    return command


@dataclass(frozen=True, slots=True)
class Start:
    """The command of a worker and its input; the workers that must have ended `before`, and those that feed it while it
    runs `beside` them."""

    command: Sequence[str]
    text: str
    before: Sequence[Worker] = ()
    beside: Sequence[Worker] = ()


class WorkerGroup:
    """What workers share: the observer, standard output, and whether a stop was asked for."""

    def __init__(self, observer: Observer) -> None:
        self.lock = Lock()
        self.observer = observer
        self.stopping = False
        self.killed = False
        self.processes: list[subprocess.Popen[bytes]] = []

    def write(self, lines: bytes) -> None:
        """Whole lines to standard output; through a buffer, because a bare stream may take a part only."""
        with self.lock, open(sys.stdout.fileno(), "wb", closefd=False) as out:
            out.write(lines)

    def tell(self, name: str, **fields: object) -> None:
        with self.lock:
            self.observer.event(name, **fields)

    def stop(self) -> None:
        self.stopping = True
        self._signal(_STOP)

    def kill(self) -> None:
        self.killed = True
        self._signal(signal.SIGKILL)

    def add(self, process: subprocess.Popen[bytes]) -> None:
        """From now on it is told of a stop; at once when one was asked for already."""
        self.processes.append(process)
        if self.stopping:
            process.send_signal(_STOP)

    def _signal(self, number: signal.Signals) -> None:
        for process in tuple(self.processes):
            process.send_signal(number)


class Worker:
    """A job, or one of its workers: waits for jobs that feed it, runs its process, and keeps its summary.

    `observer` is told what the process tells; `number`: which of the job's workers it is. The error of such a one is
    left to the one who asks for the summary.
    """

    def __init__(self, job: str, group: WorkerGroup, observer: Observer, number: int | None = None) -> None:
        self.job = job
        self.number = number
        self.running = Event()
        self.ended = Event()
        self.summary = JobSummary(job, "stopped")
        self._group = group
        self._observer = observer

    def start(self, start: Start) -> None:
        Thread(target=self._run, args=(start,), name=self.job, daemon=True).start()

    def wait_until_running(self) -> None:
        """Until it has said how far it is, or has ended."""
        while not self.running.wait(_JOIN_SECONDS) and not self.ended.is_set():
            pass

    def _run(self, start: Start) -> None:
        try:
            if start.before:
                self._group.tell("job_waits", job=self.job, until_finished=[other.job for other in start.before])
            for other in start.before:
                other.ended.wait()
            for other in start.beside:
                other.wait_until_running()
            others = (*start.before, *start.beside)
            if failed := [other.job for other in others if other.summary.state == "failed"]:
                self._fail(_not_started(self.job, failed))
            elif not self._group.stopping and start.beside:
                self._run_beside(start)
            elif not self._group.stopping:
                self._run_process(start.command, start.text)
        finally:
            self.ended.set()

    def _run_beside(self, start: Start) -> None:
        """With a pipe that is closed when those that feed it have ended."""
        theirs, ours = os.pipe()
        Thread(target=_close_after, args=(ours, start.beside), daemon=True).start()
        try:
            self._run_process([*start.command, "--while-open", str(theirs)], start.text, (theirs,))
        finally:
            os.close(theirs)

    def _run_process(self, command: Sequence[str], text: str, shared: tuple[int, ...] = ()) -> None:
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True, pass_fds=shared
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            self._group.add(process)
            with suppress(BrokenPipeError):  # a worker that is gone says why by its exit code
                process.stdin.write(text.encode())
                process.stdin.close()
            log = Thread(target=self._read_log, args=(process.stderr,), daemon=True)
            log.start()
            last = self._forward_rows(process.stdout)
            log.join()
            code = process.wait()
        self._group.processes.remove(process)
        self._conclude(last, code)

    def _conclude(self, last: bytes, code: int) -> None:
        if last.startswith(b'{"jobs": ['):
            said = json.loads(last)
            failed = JobSummary(self.job, "failed", error=said.get("error"))
            self.summary = JobSummary(**said["jobs"][0]) if said["jobs"] else failed
        elif not self._group.killed and (not self._group.stopping or _crashed(code)):
            self._fail(_ended(self._name, code))

    @property
    def _name(self) -> str:
        return f"the worker of job '{self.job}'" if self.number is None else f"worker {self.number} of job '{self.job}'"

    def _fail(self, error: FerrisError) -> None:
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


def _close_after(pipe: int, workers: Sequence[Worker]) -> None:
    for worker in workers:
        worker.ended.wait()
    os.close(pipe)


def _crashed(code: int) -> bool:
    """Whether a worker that was asked to stop died of something else; one that had not begun dies of the signal."""
    return code < 0 and code != -_STOP


def _not_started(job: str, failed: Sequence[str]) -> FerrisError:
    return FatalConnectorError(
        f"job '{job}' was not started: it reads what {' and '.join(failed)} writes, which failed",
        "E6005",
        "fix that job and run again: what is finished is not done twice",
    )


def _ended(who: str, code: int) -> FerrisError:
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return FatalConnectorError(
        f"{who} ended without a result ({how})", "E6004", "run again: it resumes where it stopped"
    )
