"""Results that change, folded after every batch: what stands at the output is the engine's own answer over the rows so
far, for every aggregate that the engine lists, in every form of a changelog, with keys and without, in windows or none.

    python -m tests.properties.changes --first 1 --last 100

A seed is one form over some aggregates, those that keep values and those that merge apart: one of the former makes all
of its query keep values. The seeds go through the catalogue in turn.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import duckdb

from ferrisstreams.batch import Payload, Rejected
from ferrisstreams.clock import ManualClock
from ferrisstreams.config.values import Property
from ferrisstreams.errors import FerrisError
from ferrisstreams.plan.nodes import JobPlan
from ferrisstreams.runtime.environment import Environment, StandIns
from ferrisstreams.runtime.job import Job
from ferrisstreams.sql.application import parse_application
from ferrisstreams.testing.chance import Chance
from ferrisstreams.testing.doubles import CollectingSink, Cuts, Records, RecordSource
from tests.properties.catalogue import COLUMNS, ROWS, Expressions, catalogue
from tests.properties.statements import MINUTE, Oracle, declaration, is_holistic

#: How many aggregates a seed takes from the catalogue.
CALLS = 12

#: Calls of ours as the engine knows them.
_OURS = {
    "earliest_by_offset(x)": "first(x) FILTER (WHERE x IS NOT NULL)",
    "latest_by_offset(n)": "last(n) FILTER (WHERE n IS NOT NULL)",
}

#: Calls of aggregates whose arguments are not found by chance.
_BY_HAND = {"quantile_disc": "quantile_disc(n, 0.25)"}

Row = tuple[object, ...]


@dataclass(frozen=True)
class Form:
    """How changes are written. `keyed`: only where a key tells the rows apart."""

    name: str
    connector: str
    keyed: bool
    fold: Callable[[Sequence[Payload], int], list[Row]]


@dataclass(frozen=True)
class Draw:
    """One query: `window` says whether it has one, `keys` are columns, `size` are the rows of a batch."""

    form: Form
    keys: tuple[str, ...]
    window: bool
    size: int
    calls: tuple[str, ...]

    def text(self) -> str:
        bounds = ["TUMBLE(ts, INTERVAL '1' MINUTE)"] if self.window else []
        first = ["window_start", "window_end"] if self.window else []
        items, groups = self._items(first, self.calls), _grouping(bounds, self.keys)
        return f"{declaration(COLUMNS)}SELECT {items} FROM s {groups} EMIT CHANGES"

    def answer(self, oracle: Oracle, rows: int) -> list[Row]:
        first = [MINUTE, f"{MINUTE} + INTERVAL '1 minute'"] if self.window else []
        items = self._items(first, [_OURS.get(call, call) for call in self.calls])
        groups = _grouping(first[:1], self.keys)
        return oracle.con.sql(f"SELECT {items} FROM s WHERE rowid < {rows} {groups}").fetchall()

    def _items(self, first: Sequence[str], calls: Sequence[str]) -> str:
        # As texts, because messages have no others.
        items = [*first, *self.keys, *(f"CAST({call} AS VARCHAR)" for call in calls)]
        return ", ".join(f"{item} AS c{number}" for number, item in enumerate(items))

    @property
    def bounds(self) -> int:
        return 2 if self.window else 0

    @property
    def key_columns(self) -> int:
        return len(self.keys) + self.bounds

    def __str__(self) -> str:
        return f"{self.form.name}, {self.size} rows a batch: {self.text().partition(';')[2].strip()}"


def _grouping(bounds: Sequence[str], keys: Sequence[str]) -> str:
    return f"GROUP BY {', '.join([*bounds, *keys])}" if bounds or keys else ""


# -- folding


class ContradictionError(AssertionError):
    """A change that does not follow from those before it."""


def _rows(payloads: Sequence[Payload]) -> Iterator[Row]:
    for payload in payloads:
        columns = [column.to_pylist() for column in payload.data.columns]  # type: ignore[union-attr]
        yield from zip(*columns, strict=True)


def _appended(payloads: Sequence[Payload], keys: int) -> list[Row]:
    return list({row[:keys]: row for row in _rows(payloads)}.values())


def _retracted(payloads: Sequence[Payload], keys: int) -> list[Row]:
    standing: list[Row] = []
    for op, *values in _rows(payloads):
        if str(op).startswith("+"):
            standing.append(tuple(values))
            continue
        # Floats that are added up in another order when the old value is made once more may differ in the last digit.
        found = next((row for row in standing if alike(row, values)), None)
        if found is None:
            raise ContradictionError(f"{values} is taken back, and does not stand: {standing}")
        standing.remove(found)
    return standing


def _messages(payloads: Sequence[Payload]) -> Iterator[tuple[bytes | None, object]]:
    for payload in payloads:
        assert isinstance(payload.data, bytes)
        values = payload.data.splitlines() if payload.values is None else payload.values
        for key, value in zip(payload.keys or [None] * payload.rows, values, strict=True):
            yield key, None if value is None else json.loads(value)


def _upserted(payloads: Sequence[Payload], keys: int) -> list[Row]:
    standing: dict[bytes | None, object] = {}
    for key, value in _messages(payloads):
        if value is None:
            del standing[key]
        else:
            standing[key] = value
    return [_fields(value) for value in standing.values()]


def _enveloped(payloads: Sequence[Payload], keys: int) -> list[Row]:
    standing: dict[bytes | None, object] = {}
    for key, value in _messages(payloads):
        assert isinstance(value, dict)
        before = standing.get(key)
        same = before is value["before"] is None or alike(_fields(before), _fields(value["before"]))
        if not same or value["op"] != ("c" if before is None else "u"):
            raise ContradictionError(f"{value} stands behind {before}")
        standing[key] = value["after"]
    return [_fields(value) for value in standing.values()]


def _fields(value: object) -> Row:
    return tuple(value.values()) if isinstance(value, dict) else ()


FORMS = (
    Form("append", "memory", False, _appended),
    Form("retract", "memory", False, _retracted),
    Form("upsert", "kafka", True, _upserted),
    Form("debezium", "kafka", True, _enveloped),
)


_NUMBER = re.compile(r"-?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?")

#: Sums that the engine itself gives for infinity as infinity or as no number, by how it comes to its groups.
_COMPENSATED = frozenset({"fsum", "kahan_sum", "sumkahan"})
#: The engine takes the bins of the row that comes first, in no order.
_BINS_OF_ROWS = re.compile(r"^histogram\w*\(\w+, [a-z]\w*\)")


def alike(one: Sequence[object], other: Sequence[object]) -> bool:
    """Texts, whose numbers agree to nine digits."""
    return len(one) == len(other) and all(map(_alike, one, other))


def _alike(one: object, other: object) -> bool:
    if one == other or one is None or other is None:
        return one == other
    first, second = str(one), str(other)
    if _NUMBER.sub("0", first) != _NUMBER.sub("0", second):
        return False
    pairs = zip(_NUMBER.findall(first), _NUMBER.findall(second), strict=True)
    return all(math.isclose(float(a), float(b), rel_tol=1e-9, abs_tol=1e-9) for a, b in pairs)


# -- running


class _Watched(CollectingSink):
    """Keeps with each payload how many rows had been read when it was written."""

    def __init__(self) -> None:
        super().__init__()
        self.source: RecordSource | None = None
        self.written: list[tuple[int, Payload]] = []

    def write(self, payload: Payload) -> Sequence[Rejected]:
        assert self.source is not None
        self.written.append((sum(int(str(place)) for place in self.source.reached().values()), payload))
        return super().write(payload)


@cache
def _aggregates() -> tuple[str, ...]:
    return tuple(catalogue()[1])


class Asking:
    """Asks the queries of seeds."""

    def __init__(self) -> None:
        self._oracle = Oracle()
        self._records = Records({"p": self._oracle.records()})

    def run(self, seed: int) -> list[str]:
        """What is wrong with the queries of a seed."""
        chance = Chance("changes", seed)
        form = FORMS[seed % len(FORMS)]
        window = chance.below(3) == 2
        keys: tuple[str, ...] = chance.pick(((), ("k",), ("k", "b")))
        if form.keyed and not keys:
            keys = ("k",)
        draw = Draw(form, keys, window, 1 + chance.below(3), ())
        drawn = [call for name in self._names(seed) if (call := self._call(chance, name, draw)) is not None]
        found = []
        for calls in ([c for c in drawn if not is_holistic(c)], drawn):
            found += self._ask(replace(draw, calls=("count(*)", "min(ts)", *calls, *_OURS)))
        return found

    def _names(self, seed: int) -> list[str]:
        """The aggregates whose turn it is."""
        names = _aggregates()
        return [names[(seed * CALLS + number) % len(names)] for number in range(CALLS)]

    def _call(self, chance: Chance, name: str, draw: Draw) -> str | None:
        """A call that the engine and we take and whose value the rows decide, in this query; None: none was found."""
        for _ in range(30):
            call = Expressions(chance).call_of(name)
            if (name in _COMPENSATED and "inf" in call) or _BINS_OF_ROWS.search(call):
                continue
            if not self._oracle.varies(call) and self._is_answered(replace(draw, calls=(call,))):
                return call
        return _BY_HAND.get(name)

    def _is_answered(self, draw: Draw) -> bool:
        try:
            for rows in (ROWS, *range(1, ROWS)):
                draw.answer(self._oracle, rows)
            _plan(draw)
        except (duckdb.Error, FerrisError):
            return False
        return True

    def _ask(self, draw: Draw) -> list[str]:
        try:
            written = self._run(draw)
        except FerrisError as error:
            return [f"{draw}\n    {error.code} {error}"]
        for rows in [*range(draw.size, ROWS, draw.size), ROWS]:
            expected = draw.answer(self._oracle, rows)
            try:
                got = draw.form.fold([payload for reached, payload in written if reached <= rows], draw.key_columns)
            except ContradictionError as error:
                return [f"{draw}\n    after {rows} rows: {error}"]
            left = list(got)
            for row in expected:
                # The bounds of windows are other texts in messages; the least time tells windows apart.
                found = next((other for other in left if alike(row[draw.bounds :], other[draw.bounds :])), None)
                if found is None:
                    return [f"{draw}\n    after {rows} rows: {row} is missing among {left}"]
                left.remove(found)
            if left:
                return [f"{draw}\n    after {rows} rows: too much: {left}"]
        return []

    def _run(self, draw: Draw) -> list[tuple[int, Payload]]:
        """Every payload with the rows that had been read."""
        sink, clock = _Watched(), ManualClock(1_709_251_200_000_000)

        def source(_: str, block: object) -> RecordSource:
            sink.source = RecordSource(self._records, Cuts(), block, clock)  # type: ignore[arg-type]
            return sink.source

        overrides = {
            "changelog": draw.form.name, "batch.strategy": "fixed_size", "batch.size": str(draw.size),
            "commit.policy": "per_batch",
        }  # fmt: skip
        environment = Environment(
            "test",
            Path(),
            overrides={name: Property(value, origin="with") for name, value in overrides.items()},
            clock=clock,
            stand_ins=StandIns(source, sink, CollectingSink()),
        )
        result = Job(_plan(draw), environment).run()
        if result.error is not None:
            raise result.error
        return sink.written


def _plan(draw: Draw) -> JobPlan:
    plan = parse_application(draw.text(), "app.sql").jobs[0]
    properties: Mapping[str, Property] = {"connector": Property(draw.form.connector)}
    if draw.form.connector == "kafka":
        properties = {**properties, "topic": Property("out"), "bootstrap.servers": Property("nowhere:1")}
    return replace(plan, plan=replace(plan.plan, spec=replace(plan.plan.spec, properties=properties, anonymous=False)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--last", type=int, default=100, help="the last seed")
    arguments = parser.parse_args()
    asking, faults = Asking(), 0
    for seed in range(arguments.first, arguments.last + 1):
        for fault in asking.run(seed):
            faults += 1
            print(f"seed {seed} {fault}", flush=True)
    print(f"seeds {arguments.first} to {arguments.last}: {faults} faults", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
