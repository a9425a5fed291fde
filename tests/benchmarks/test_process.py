"""A system under test is watched and ended with all its children."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.kafka.process import Watched, descendants
from ferrisstreams.clock import SystemClock

#: Starts a child that works and one whose parent ends at once, and says so.
FAMILY = """
import subprocess, sys
work = [sys.executable, "-c", "while True: pass"]
subprocess.Popen(work)
subprocess.run([sys.executable, "-c", f"import subprocess; subprocess.Popen({work!r})"])
print("ready", flush=True)
subprocess.run(work)
"""


def wait_until(condition: Callable[[], object]) -> None:
    clock = SystemClock()
    for _ in range(600):
        if condition():
            return
        clock.sleep_ms(50)
    raise AssertionError("it does not come to pass")


def test_children_are_counted_and_ended_also_those_without_a_parent(tmp_path: Path) -> None:
    watched = Watched([sys.executable, "-c", FAMILY], tmp_path, {})
    try:
        wait_until(lambda: "ready" in watched.tail())
        wait_until(lambda: len(descendants(watched.pid)) == 4)
        family = descendants(watched.pid)
        wait_until(lambda: watched.samples and watched.samples[-1].cpu_seconds > 0.3)
        assert watched.samples[-1].megabytes > 5
        assert watched.ended() is None
    finally:
        watched.end()
    assert not any(Path(f"/proc/{pid}").exists() and not zombie(pid) for pid in family)
    assert watched.ended() == -9
    watched.end()


def zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] == "Z"


def test_exit_code_and_last_words_are_kept(tmp_path: Path) -> None:
    watched = Watched(
        [sys.executable, "-c", "import os, sys; print(os.environ['WORD']); sys.exit(3)"], tmp_path, {"WORD": "no"}
    )
    try:
        wait_until(lambda: watched.ended() is not None)
        assert (watched.ended(), watched.tail()) == (3, "no\n")
    finally:
        watched.end()
