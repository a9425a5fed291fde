"""Small fetches as Arrow: what reads files stands alone, and the statement over it is planned once.

A statement with a function that reads a file is planned again whenever it runs, prepared or not. Of a fetch of a few
rows that is nearly all that it costs: the functions by themselves are planned in a tenth of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlglot import exp

from ferrisstreams.batch import Rejected
from ferrisstreams.compile.arrow_types import carried_type
from ferrisstreams.compile.stage import Failure, Rows
from ferrisstreams.duck.engine import Connection, DataError, Rendered, render

if TYPE_CHECKING:
    import pyarrow as pa

#: Scans that take turns: a decoder's plain one, one of what was judged, and one that only raises.
_SCANS_KEPT = 3


@dataclass(frozen=True, slots=True)
class _Split:
    """A scan, the same over views, and what is read into them; None where values do not come back as they went."""

    scan: exp.Select
    made: exp.Select
    sources: Sequence[tuple[str, Rendered | Path]] | None


class Detached:
    """The scans of one stage; `name` begins the names of its views."""

    def __init__(self, work: Connection, name: str) -> None:
        self._work = work
        self._name = name
        self._splits: list[_Split] = []

    def read(self, scan: exp.Select) -> exp.Select:
        """The scan over views that hold what its functions read just now."""
        split = next((known for known in self._splits if known.scan is scan), None)
        if split is None:
            split = self._split(scan)
            self._splits = [*self._splits[1 - _SCANS_KEPT :], split]
        for view, source in split.sources or ():
            self._work.show(view, _content(source) if isinstance(source, Path) else self._work.arrow(source))
        return split.made

    def _split(self, scan: exp.Select) -> _Split:
        made = scan.copy()
        sources: list[tuple[str, Rendered | Path]] = []
        for table in list(made.find_all(exp.Table)):
            if not isinstance(table.this, exp.Func):
                continue
            view = f"{self._name}{len(self._splits)}_{len(sources)}"
            source = exp.select("*").from_(exp.Table(this=table.this.copy()))
            if table.this.name.upper() == "READ_TEXT":
                sources.append((view, Path(table.this.expressions[0].name)))
            elif all(carried_type(type_) == type_ for _, type_ in self._work.types(source)):
                sources.append((view, render(source)))
            else:
                return _Split(scan, scan, None)
            table.replace(exp.to_table(view).as_(table.alias or view))
        return _Split(scan, made, sources)


def _content(path: Path) -> pa.Table:
    """What READ_TEXT gives of a file, without a statement."""
    import pyarrow as pa

    try:
        return pa.table({"content": pa.array([path.read_bytes().decode()], pa.string())})
    except UnicodeDecodeError as error:
        raise DataError(f"the file is not UTF-8: {error}") from error


def with_viewed_parameters(statement: exp.Select, view: str) -> exp.Select:
    """The statement with a look into the one row of a view in the place of each parameter: what has parameters of its
    own is planned again, too."""
    for found in list(statement.find_all(exp.Parameter)):
        found.replace(exp.select(exp.column(found.name, quoted=True)).from_(view).subquery())
    return statement


class DetachedRows:
    """The rows of a fetch by way of Arrow."""

    def __init__(self, rows: Rows, detached: Detached) -> None:
        self._rows = rows
        self._detached = detached

    @property
    def steady(self) -> bool:
        return self._rows.steady

    def scan(self) -> exp.Select:
        return self._detached.read(self._rows.scan())

    def settle(self) -> tuple[exp.Select, Sequence[Rejected]]:
        return self._rows.settle()

    def reject(self, failures: Sequence[Failure]) -> list[Rejected]:
        return self._rows.reject(failures)
