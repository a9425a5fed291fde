"""Random queries, data, cuts and crashes from seeds, until the time is over. Of four seeds, one takes the event time of
the records, and one asks for changes of the aggregates of the engine's catalogue, which come up in turn.

    python -m tests.properties.fuzz --seed 1 --minutes 5

A failing one prints the command that repeats it.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import cache

from ferrisstreams.testing.chance import Chance
from tests.properties.changes import Asking
from tests.properties.combination import SHAPES, draw_combination
from tests.properties.laws import DisagreementError, check, check_grown, draw_schedules

SCHEDULES = 6


def run(seed: int) -> str | None:
    """One combination under several schedules, or changes; None, or what differs."""
    if seed % 4 == 0:
        return "\n".join(_changes().run(seed // 4)) or None
    draw = Chance("fuzz", seed)
    combination = draw_combination(draw, draw.pick(SHAPES))
    try:
        schedules = draw_schedules(draw, len(combination.inputs), SCHEDULES)
        check(combination, schedules, on_record_time=seed % 4 == 3)
        check_grown(combination, draw_schedules(draw, len(combination.inputs), 1)[0], draw.below(11))
    except DisagreementError as disagreement:
        return str(disagreement)
    return None


@cache
def _changes() -> Asking:
    return Asking()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed; the next run has the next one")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long to go on; 0: only this seed")
    arguments = parser.parse_args()
    until = time.monotonic() + arguments.minutes * 60
    seed, failed = arguments.seed, 0
    while True:
        found = run(seed)
        if found is not None:
            failed += 1
            print(
                f"seed {seed}\n{found}\nrepeat: python -m tests.properties.fuzz --seed {seed} --minutes 0\n", flush=True
            )
        seed += 1
        if time.monotonic() >= until:
            break
    ran = seed - arguments.seed
    print(f"{ran} combinations under {SCHEDULES} schedules each, {failed} failed", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
