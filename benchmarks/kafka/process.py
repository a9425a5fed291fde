"""A system under test as a process of its own: started, watched with all its children, ended by its ids."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from benchmarks.kafka.figures import Sample

#: Between samples of CPU; memory and the list of children are looked at every fifth time, they cost more.
SAMPLE_SECONDS = 0.1
SLOW_SAMPLES = 5
MEGABYTE_KB = 1024
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
#: Words of the end of a log that are shown when a system fails.
TAIL_CHARACTERS = 1500


class Watched:
    """A running command. Its output goes to `folder/log`; `samples` grow until it is ended."""

    def __init__(self, command: Sequence[str | Path], folder: Path, environment: Mapping[str, str]) -> None:
        self.samples: list[Sample] = []
        self._log = folder / "log"
        self.started_ms = time.time() * 1000
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                cwd=folder,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()

    @property
    def pid(self) -> int:
        """The process that was started; its children are beside it."""
        return self._process.pid

    def seconds(self) -> float:
        """Since it was started."""
        return time.time() - self.started_ms / 1000

    def ended(self) -> int | None:
        """The exit code once it has ended by itself."""
        return self._process.poll()

    def end(self) -> None:
        """End it and all its children at once, as a crash does; nothing to do the second time."""
        if self._over.is_set():
            return
        self._over.set()
        self._sampler.join()
        family = descendants(self._process.pid)
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        _wait_until_gone(family)

    def tail(self) -> str:
        """The end of what it said."""
        return self._log.read_text("utf-8", "replace")[-TAIL_CHARACTERS:]

    def _sample(self) -> None:
        family, megabytes, turn = [self._process.pid], 0.0, 0
        while not self._over.wait(SAMPLE_SECONDS):
            if turn % SLOW_SAMPLES == 0:
                family = descendants(self._process.pid)
                megabytes = sum(map(_proportional_kb, family)) / MEGABYTE_KB
            turn += 1
            cpu = sum(map(_cpu_seconds, family))
            # A process that ended is counted by its parent; the sum must not fall while that is seen.
            before = self.samples[-1].cpu_seconds if self.samples else 0.0
            self.samples.append(Sample(time.time() * 1000, max(cpu, before), megabytes))


def descendants(pid: int) -> list[int]:
    """The process that leads a session, all its children and theirs, and what else is in its session."""
    children: dict[int, list[int]] = {}
    session = [pid]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))):
            children.setdefault(int(stat[1]), []).append(int(entry.name))
            # A child whose parent has ended keeps its session.
            if int(stat[3]) == pid:
                session.append(int(entry.name))
    found = list(dict.fromkeys(session))
    for one in found:
        found.extend(child for child in children.get(one, []) if child not in found)
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _cpu_seconds(pid: int) -> float:
    stat = _stat(pid)
    return sum(map(int, stat[11:15])) / TICKS_A_SECOND if stat else 0.0


def _proportional_kb(pid: int) -> float:
    """Memory of a process; what several share is divided among them."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8").splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0.0
    return float(next((line.split()[1] for line in lines if line.startswith("Pss:")), 0))


def _wait_until_gone(pids: Sequence[int]) -> None:
    """Until none of them holds a file or a port any more."""
    for _ in range(200):
        if not any((stat := _stat(pid)) and stat[0] != "Z" for pid in pids):
            return
        time.sleep(0.05)
