"""Real processes, killed with SIGKILL at every fault point and at random: output and ledger as undisturbed."""

from __future__ import annotations

import random
import subprocess

import pytest

from ferrisstreams.runtime.faults import FAULT_POINTS
from tests.crash.conftest import QUERIES, Ended, Twins, some_of

#: How often a point is reached before the process dies there; a job goes through few epochs before it is killed again.
HITS = {"during_recovery": 1, "during_reclaim": 1, "after_reclaim": 1}


def assert_same(twins: Twins, ended: Ended) -> None:
    assert ended.code == 0, ended.err
    assert twins.killed.output.read_bytes() == twins.undisturbed.output.read_bytes()
    assert ended.summary["ledger"] == twins.expected.summary["ledger"]
    assert twins.killed.letters() == twins.undisturbed.letters()
    audit = twins.killed.audit()
    assert audit.code == 0, audit.out + audit.err


@pytest.mark.parametrize("twins", some_of(QUERIES, {"copy", "hopping", "tumbling"}), indirect=True)
def test_kill_at_fault_points_changes_nothing(twins: Twins, turn: slice) -> None:
    points = FAULT_POINTS[turn]
    reached = []
    for number, point in enumerate(points):
        ended = twins.killed.run(f"{point}:{HITS.get(point, 2 + number % 3)}")
        assert ended.code in (-9, 0), ended.err
        reached += [point] if ended.code == -9 else []
    assert reached == list(points)
    assert_same(twins, twins.killed.finish())


@pytest.mark.parametrize("twins", ["letters", "sessions"], indirect=True)
def test_kill_at_random_changes_nothing(twins: Twins) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    deaths = 0
    for _ in range(5):
        process = twins.killed.start()
        try:
            process.communicate(timeout=chance.uniform(0.5, 1.5))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            deaths += 1
    print(f"seed {seed}: {deaths} of 5 runs were killed before their end")
    assert_same(twins, twins.killed.finish())


@pytest.mark.parametrize("twins", ["tumbling"], indirect=True)
def test_a_second_instance_is_refused_and_hurts_nothing(twins: Twins) -> None:
    first = twins.killed.start()
    second = twins.killed.finish()
    out, err = first.communicate(timeout=120)
    # Whichever came second is refused, unless the other had ended before.
    for ended in (Ended(first.returncode, out, err), second):
        assert ended.code == 0 or "E5001" in ended.out + ended.err
    assert_same(twins, twins.killed.finish())
