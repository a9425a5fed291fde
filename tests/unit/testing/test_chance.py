from __future__ import annotations

from ferrisstreams.testing.chance import Chance


def test_chance_is_the_same_for_the_same_seed() -> None:
    assert [Chance("a", 1).below(1000) for _ in range(3)] == [Chance("a", 1).below(1000)] * 3
    drawn = [Chance(seed).below(1000) for seed in range(50)]
    assert len(set(drawn)) > 40


def test_sample_keeps_the_order_and_takes_no_more_than_there_is() -> None:
    assert Chance(1).sample([1, 2, 3], 5) == [1, 2, 3]
    for seed in range(20):
        taken = Chance(seed).sample(list(range(10)), 4)
        assert taken == sorted(set(taken))
        assert len(taken) == 4
