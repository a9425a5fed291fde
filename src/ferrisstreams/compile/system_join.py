"""Rows of a fetch beside what their messages have besides a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sqlglot import exp

from ferrisstreams.batch import Fetch, Headers, Messages
from ferrisstreams.duck.engine import Connection, arrow_table, column
from ferrisstreams.errors import InternalError
from ferrisstreams.formats.base import ROW
from ferrisstreams.formats.expressions import data_type
from ferrisstreams.schema import Column

#: The name under which a batch's system columns are registered.
_TABLE = "_messages"

#: Among them, where they are found by it: the ordinal of the message.
_MESSAGE = "_message\x7f"

_Values = Callable[[Fetch, Messages], Sequence[object]]

#: How the values of a system column are had: Arrow's type of them, and the values of all messages of a fetch.
_COLUMNS: Mapping[str, tuple[str, _Values]] = {
    "_topic": ("string", lambda fetch, messages: [fetch.partition.rpartition("-")[0]] * len(messages)),
    "_partition": ("int64", lambda fetch, messages: [int(fetch.partition.rpartition("-")[2])] * len(messages)),
    "_offset": ("int64", lambda fetch, messages: messages.offsets()),
    "_key": ("string", lambda fetch, messages: list(map(_text, messages.keys()))),
    "_timestamp": ("timestamp_ms", lambda fetch, messages: messages.timestamps_ms()),
    "_headers": ("texts", lambda fetch, messages: [_texts(named) for named in messages.headers()]),
}


class SystemJoin:
    """Puts the system columns of a plan beside the rows of a scan: one by one, because both are in order; or `by_row`,
    because a record can be several rows."""

    def __init__(self, connection: Connection, columns: Sequence[Column], by_row: bool = False) -> None:
        self._connection = connection
        self._columns = columns
        self._by_row = by_row
        self._last: tuple[exp.Select, exp.Select] | None = None

    def joined(self, fetch: Fetch, rows: exp.Select, ordinals: Sequence[int] | None = None) -> exp.Select:
        """`rows` with the system columns. `ordinals` are the rows' places in the fetch; None: the rows are all of it.

        The same object comes back for the same one.
        """
        if fetch.messages is None:
            raise InternalError("system columns of records that are not messages")
        ordinals = None if self._by_row else ordinals
        values = {c.name: self._values(fetch, fetch.messages, c.name, ordinals) for c in self._columns}
        if self._by_row:
            values[_MESSAGE] = "int64", range(len(fetch.messages))
        self._connection.register(_TABLE, arrow_table(values))
        if self._last is None or self._last[0] is not rows:
            system = [exp.cast(column(c.name), data_type(c.type)).as_(c.name, quoted=True) for c in self._columns]
            self._last = rows, self._joined_rows(rows, system)
        return self._last[1]

    def _joined_rows(self, rows: exp.Select, system: Sequence[exp.Expr]) -> exp.Select:
        read = rows.subquery("read")
        if self._by_row:
            columns = exp.select(*system, column(_MESSAGE)).from_(_TABLE).subquery("system")
            shown = exp.select("read.*", *(column(c.name, "system") for c in self._columns))
            return shown.from_(read).join(columns, on=column(_MESSAGE, "system").eq(column(ROW, "read")))
        made = exp.select("*").from_(read)
        made.append("joins", exp.Join(this=exp.select(*system).from_(_TABLE).subquery("system"), method="POSITIONAL"))
        return made

    @staticmethod
    def _values(
        fetch: Fetch, messages: Messages, name: str, ordinals: Sequence[int] | None
    ) -> tuple[str, Sequence[object]]:
        kind, of = _COLUMNS[name]
        values = of(fetch, messages)
        return kind, values if ordinals is None else [values[row] for row in ordinals]


def _text(value: bytes | None) -> str | None:
    return value.decode("utf-8", "backslashreplace") if value is not None else None


def _texts(headers: Headers) -> list[tuple[str, str | None]]:
    """Of headers of the same name the last one counts."""
    return [(name, _text(value)) for name, value in dict(headers).items()]
