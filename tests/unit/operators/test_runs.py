from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from ferrisstreams.operators.runs import HASH, Runs

SCHEMA = pa.schema([(HASH, pa.uint64()), ("k", pa.int64()), ("v", pa.int64())])

#: Rows of one put: what takes the place of all that there was of a hash.
BUCKETS = st.dictionaries(
    st.integers(0, 6), st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True), max_size=4
)


def table(rows: list[tuple[int, int, int]]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else ([], [], [])
    return pa.table(
        [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


@given(BUCKETS, st.lists(BUCKETS, max_size=12), st.lists(st.integers(0, 8), max_size=5, unique=True))
def test_newest_rows_of_a_hash_are_found_whole(
    first: dict[int, list[int]], puts: list[dict[int, list[int]]], wanted: list[int]
) -> None:
    current: dict[int, list[tuple[int, int, int]]] = {}
    runs = None
    for value, buckets in enumerate([first, *puts]):
        rows = {hash_: [(hash_, key, value) for key in keys] for hash_, keys in buckets.items()}
        current |= rows
        made = table([row for bucket in rows.values() for row in bucket])
        if runs is None:
            runs = Runs(made)
        else:
            runs.put(made)
    assert runs is not None
    found = [tuple(row.values()) for row in runs.find(pa.array(wanted, pa.uint64())).to_pylist()]
    assert sorted(found) == sorted(row for hash_ in wanted for row in current.get(hash_, []))


def test_superseded_rows_are_merged_away() -> None:
    runs = Runs(table([(at, 0, 0) for at in range(100)]))
    for value in range(400):
        runs.put(table([(at, 0, value) for at in range(100)]))
    assert runs.rows <= 600
    assert runs.nbytes <= 600 * 24
