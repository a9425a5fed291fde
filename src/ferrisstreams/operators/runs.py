"""The current row of each key as sorted runs of Arrow: rows are found by the hash of their keys without a scan.

    put ──▶ [run] [run] [run] [────── run ──────] [──────────── run ────────────] ◀── find
            newest                                                        oldest

A run is a table in order of the hash, and is never changed; four of like size are merged into one. What a newer run has
of a hash takes the place of all that older ones have of it, so that whoever puts one of several keys of the same hash
puts all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ferrisstreams.batch import integer

#: The column by which rows are found: the hash of their keys.
HASH = "_h"

#: Runs that are merged at a time, and how much larger than the smallest of them the largest may be.
_FAN, _LIKE = 4, 2


@dataclass(frozen=True, slots=True)
class _Run:
    hashes: pa.Array
    rows: pa.Table


class Runs:
    """`rows` and those of every `put` have the same columns, `_h` among them."""

    def __init__(self, rows: pa.Table) -> None:
        self._none = rows.slice(0, 0)
        self._runs = [_run(rows)] if rows.num_rows else []

    @property
    def nbytes(self) -> int:
        return sum(run.rows.nbytes for run in self._runs)

    @property
    def rows(self) -> int:
        """Rows of all runs, of which newer ones may have taken the places of some."""
        return sum(run.rows.num_rows for run in self._runs)

    def find(self, hashes: pa.Array) -> pa.Table:
        """The current rows of all keys with these hashes, each of which is given once."""
        parts, left = [self._none], hashes
        for run in reversed(self._runs):
            if not len(left):
                break
            first = pc.search_sorted(run.hashes, left, side="left")
            behind = pc.search_sorted(run.hashes, left, side="right")
            found = pc.less(first, behind)
            places = first.filter(found)
            if len(places):
                several = pc.sum(pc.subtract(behind, first)).as_py() - len(places)
                if several:
                    places = _all_between(places, behind.filter(found))
                parts.append(run.rows.take(places))
                left = left.filter(pc.invert(found))
        return pa.concat_tables(parts)

    def put(self, rows: pa.Table) -> None:
        """Rows that take the places of all that there were of their hashes."""
        if not rows.num_rows:
            return
        self._runs.append(_run(rows))
        while len(self._runs) >= _FAN:
            newest = self._runs[-_FAN:]
            sizes = [len(run.hashes) for run in newest]
            if max(sizes) > _LIKE * min(sizes):
                break
            self._runs[-_FAN:] = [_merged(newest)]


def _run(rows: pa.Table) -> _Run:
    rows = rows.take(pc.sort_indices(rows.column(HASH))).combine_chunks()
    return _Run(rows.column(HASH).chunk(0), rows)


def _merged(runs: list[_Run]) -> _Run:
    """Of each hash all rows of the newest run that has it."""
    newest_first = runs[::-1]
    rows = pa.concat_tables([run.rows for run in newest_first])
    ages = pa.concat_arrays(
        [pa.repeat(pa.scalar(age, pa.int32()), len(run.hashes)) for age, run in enumerate(newest_first)]
    )
    order = pc.sort_indices(rows.column(HASH))  # A stable sort: the newest run's rows of a hash stand first.
    hashes, ages = rows.column(HASH).take(order).combine_chunks(), ages.take(order)
    begins = pa.concat_arrays([pa.array([True], pa.bool_()), pc.not_equal(hashes[1:], hashes[:-1])])
    newest = pc.fill_null_forward(pc.if_else(begins, ages, pa.scalar(None, ages.type)))
    kept = rows.take(order.filter(pc.equal(ages, newest))).combine_chunks()
    return _Run(kept.column(HASH).chunk(0), kept)


def _all_between(first: pa.Array, behind: pa.Array) -> pa.Array:
    """The places of all rows where a hash has several: that is rare, and so few that they may be Python objects."""
    bounds = zip(first.to_pylist(), behind.to_pylist(), strict=True)
    return pa.array([place for start, stop in bounds for place in range(integer(start), integer(stop))], pa.uint64())
