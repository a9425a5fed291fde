"""The table as an operator: after every tick its changes, folded, are the newest row of each key, by DuckDB."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa
import pytest
from sqlglot import exp

from ferrisstreams.batch import Fetch
from ferrisstreams.compile import latest
from ferrisstreams.compile.pipeline import BatchContext
from ferrisstreams.operators.aggregates import function
from ferrisstreams.operators.base import RowsOperator
from ferrisstreams.operators.table import TableShape, table
from tests.properties.operators import DELAY_S, DifferenceError, Listed, Row, Run, check, replaced


@dataclass(frozen=True)
class ListedTable(Listed):
    """`query` is over the table `s`, whose key is `keys`."""

    query: str = "SELECT k, o, v FROM s"

    @property
    def job(self) -> str:
        return (
            f"CREATE TABLE s (k TEXT, o BIGINT, v BIGINT, PRIMARY KEY ({', '.join(self.keys)}))"
            " WITH ('connector' = 'file', 'path' = 'in.jsonl', 'changelog' = 'retract');\n"
            "CREATE STREAM out WITH ('connector' = 'file', 'path' = 'out.jsonl', 'changelog' = 'retract') AS"
            f" {self.query};"
        )

    @property
    def answer(self) -> str:
        newest = f"row_number() OVER (PARTITION BY {', '.join(self.keys)} ORDER BY n DESC) = 1"
        return f"WITH s AS (SELECT * FROM (FROM kept QUALIFY {newest}) WHERE NOT gone) {self.query}"


LISTED = (
    ListedTable("all columns"),
    ListedTable("two keys", ("k", "o")),
    ListedTable("a key that grows", ("o",), query="SELECT v, o + 1 AS p FROM s"),
    ListedTable("without the key", query="SELECT v FROM s"),
    ListedTable("filtered", query="SELECT k, v FROM s WHERE v > 0"),
    ListedTable("computed", query="SELECT concat(k, '/', v) AS x, o // 2 AS h FROM s WHERE o <> 3"),
)

_NEW, _OLD, _GONE = 0, 1, 2
_OPS = {_NEW: ("+I", "+U"), _OLD: ("-U",), _GONE: ("-D",)}


class TableRun(Run):
    """Rows have in the place of a time what becomes of them."""

    def _rows(self) -> list[Row]:
        chance, rows = self._chance, []
        for _ in range(1 + chance.below(6)):
            self._grown += 1
            key = chance.pick(("a", "b", "c", "", f"k{chance.below(50)}"))
            order = self._grown // 4 if chance.below(3) else chance.below(9)
            change = chance.pick((_NEW, _NEW, _NEW, _GONE, _GONE, _OLD))
            rows.append((key, order, chance.pick((None, 1, 2, 3, -4)), change))
            if chance.below(5) == 0:
                rows.append(rows[-1])
        return rows

    def _tick(self) -> None:
        rows, now = self._rows(), self._now
        lines = (
            json.dumps({"op": self._chance.pick(_OPS[change]), "k": key, "o": order, "v": value})
            for key, order, value, change in rows
        )
        self._block.write("".join(f"{line}\n" for line in lines).encode())
        fetch = Fetch(partition="p", records=self._block, origin="p", offset=now.read, position=now.read)
        outcome = self._pipeline.process(fetch, BatchContext(now.seen_us, now.read))
        assert not outcome.rejected
        assert outcome.tally.filtered == sum(row[3] == _OLD for row in rows)
        self._fold([outcome])
        now.rows += [(row, DELAY_S) for row in rows if row[3] != _OLD]
        now.read += len(rows)

    def _batch_answer(self) -> list[tuple[object, ...]]:
        rows = [row for row, _ in self._now.rows]
        values = {name: pa.array([row[at] for row in rows], kind) for at, (name, kind) in enumerate(_KINDS.items())}
        gone = pa.array([row[3] == _GONE for row in rows], pa.bool_())
        self._oracle.register("kept", pa.table({"n": range(len(rows)), "gone": gone, **values}))
        return self._oracle.execute(self.listed.answer).fetchall()


_KINDS = {"k": pa.string(), "o": pa.int64(), "v": pa.int64()}


@pytest.mark.parametrize("listed", LISTED, ids=lambda listed: listed.name)
@pytest.mark.parametrize("ticks", [40, pytest.param(2_000, marks=pytest.mark.full)])
def test_changes_fold_to_the_newest_rows_after_every_tick(listed: Listed, ticks: int) -> None:
    check(partial(TableRun, listed), ticks)


# --- planted faults ---------------------------------------------------------------------------------------------------


def _faulty_changes(shape: TableShape) -> RowsOperator:
    """Deletes are rows like others."""
    operator = table(shape)
    found = operator.changes[0].transform(lambda node: exp.true() if isinstance(node, exp.Not) else node)
    return replace(operator, changes=(found,))


def _faulty_keep(shape: TableShape) -> RowsOperator:
    """The oldest row of a key is kept."""
    operator = table(shape)

    def oldest(node: exp.Expr) -> exp.Expr:
        return function("arg_min", *node.expressions) if node.name.lower() == "arg_max" else node

    (port,) = operator.ports
    return replace(operator, ports=(replace(port, keep=port.keep.transform(oldest)),))


@pytest.mark.parametrize("fault", [_faulty_changes, _faulty_keep], ids=["changes", "keep"])
def test_a_planted_fault_is_found(fault: object) -> None:
    with replaced(latest, "table", fault), pytest.raises(DifferenceError):
        check(partial(TableRun, LISTED[0]), 200)
