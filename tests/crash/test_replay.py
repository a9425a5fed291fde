"""`ferris dlq replay` killed with SIGKILL: each record is in the source once, byte for byte."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest

from ferrisstreams.runtime.faults import REPLAY_POINTS
from tests import processes
from tests.processes import FerrisProcess

COUNT = 2_500

APPLICATION = """
CREATE STREAM numbers (n INTEGER) WITH (connector = 'file', path = 'numbers.jsonl');
CREATE STREAM out AS SELECT n FROM numbers
WITH (connector = 'file', path = 'out.jsonl', failure_strategy = 'send_to_dlq', dlq.max_consecutive = 1000000);
""".replace("dlq.max_consecutive", "'dlq.max_consecutive'")


def start(folder: Path, *arguments: str, fault: str = "") -> FerrisProcess:
    return processes.start(*arguments, folder=folder, FERRIS_FAULT=fault)


def end(process: FerrisProcess) -> int:
    process.communicate(timeout=120)
    return process.wait()


@pytest.fixture
def records(tmp_path: Path) -> list[bytes]:
    """Records that all become letters; some are alike, so that only their number tells of a repeat."""
    made = [json.dumps({"n": f"x{number % 700}", "pad": "é" * (number % 50)}).encode() for number in range(COUNT)]
    (tmp_path / "app.sql").write_text(APPLICATION)
    (tmp_path / "numbers.jsonl").write_bytes(b"".join(record + b"\n" for record in made))
    assert end(start(tmp_path, "run", "app.sql")) == 0
    return made


def assert_replayed_once(folder: Path, records: list[bytes]) -> None:
    assert end(start(folder, "dlq", "replay", "app.sql")) == 0
    expected = b"".join(record + b"\n" for record in records)
    assert (folder / "numbers.jsonl").read_bytes() == expected * 2
    assert end(start(folder, "run", "app.sql")) == 0
    assert end(start(folder, "audit", "app.sql")) == 0


def test_kill_at_every_point_of_a_replay_sends_each_record_once(tmp_path: Path, records: list[bytes]) -> None:
    for point in REPLAY_POINTS[:2]:
        assert end(start(tmp_path, "dlq", "replay", "app.sql", fault=f"{point}:1")) == -9
    assert_replayed_once(tmp_path, records)


def test_kill_of_a_replay_at_random_sends_each_record_once(tmp_path: Path, records: list[bytes]) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    deaths = 0
    for _ in range(4):
        process = start(tmp_path, "dlq", "replay", "app.sql")
        try:
            process.communicate(timeout=chance.uniform(0.3, 1.2))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            deaths += 1
    print(f"seed {seed}: {deaths} of 4 replays were killed before their end")
    assert_replayed_once(tmp_path, records)
