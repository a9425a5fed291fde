"""DuckDB as the oracle of a test case: the case's query, nearly word for word, as a batch query over its rows.

Late rows are left out beforehand, by the definition of lateness. A window in GROUP BY becomes plain columns. What
cannot be had that way (rows that fail, other spellings of a window) raises `Inapplicable`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from ferrisstreams.testing.case import Case, Content, RawRecords, StreamInput
from ferrisstreams.testing.cells import json_text
from tests.oracle import oracle

_WATERMARK = re.compile(
    r"""
    , \s* WATERMARK \s+ FOR \s+ ("?\w+"?) \s+ AS \s+ "?\w+"?
    (?: \s* - \s* INTERVAL \s+ '(\d+)' \s+ (\w+) )? \s* (?= \) \s* $ )
    """,
    re.I | re.X,
)
#: The end of a topic's declaration, whose rows have what a message has beside its value.
_TOPIC = re.compile(r"(,\s*WATERMARK\b.*?)?\)\s*WITH\s*\(\s*'connector'\s*=\s*'kafka'\s*\)\s*$", re.I | re.S)
_MESSAGE_COLUMNS = ", _key VARCHAR, _timestamp TIMESTAMP, _headers MAP(VARCHAR, VARCHAR)"
_WINDOW = re.compile(r"\b(TUMBLE|HOP|SESSION|CUMULATE)\s*\(((?:[^()]|\([^()]*\))*)\)", re.I)
#: DuckDB keeps this word for itself; here it may name a column.
_AT = re.compile(r"(?<![\w\"'])at\b(?!\s+TIME\b)(?![\"'])", re.I)
_JOIN = re.compile(r"\bJOIN\b|\bFROM\s+\w+(\s+\w+)?\s*,", re.I)
_EMIT = re.compile(r"\s+EMIT\s+(FINAL|CHANGES)\s*;?\s*$", re.I)
_WHERE = re.compile(r"(?<!\()\bWHERE\b(.*?)(?=\bGROUP\s+BY\b|\bHAVING\b|$)", re.I | re.S)
_ORIGIN = "TIMESTAMP '1970-01-01'"
_DURATION = re.compile(r"(\d+)(ms|s|m|h|d)")
_UNITS = {"ms": 1000, "s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6, "d": 86400 * 10**6}
_SQL_UNITS = {"SECOND": 10**6, "MINUTE": 60 * 10**6, "HOUR": 3600 * 10**6}
_NEVER = -(2**62)


class Inapplicable(Exception):  # noqa: N818 - not an error of anything
    """The case has no plain batch meaning; the argument says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`filtered` is None where WHERE cannot be taken out of the query, `read` where a stream may be read twice."""

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    read: int | None
    late: int
    filtered: int | None
    aggregates: bool


def answer(case: Case) -> Answer:
    """The batch answer. Raises `Inapplicable`."""
    if "watermark.max_ahead" in case.settings:
        raise Inapplicable("rows that the clock refuses")
    if case.batch_rows is not None:
        raise Inapplicable("the output depends on the cut")
    contents = [content for each in case.streams for content in each.partitions.values()]
    if "skipped" in (case.expected.ledger or {}) and any(isinstance(content, RawRecords) for content in contents):
        raise Inapplicable("records that fail")
    if re.search(r"\bMAP\s*\{\s*[^\s}]", case.query, re.I):
        raise Inapplicable("a map that is compared with one in another order")
    used = [each for each in case.streams if re.search(rf"\b{re.escape(each.name)}\b", case.query, re.I)]
    joins = _JOIN.search(case.query) is not None
    if len(used) != 1 and not (used and joins):
        raise Inapplicable("not exactly one stream")
    with oracle() as con:
        return _joined(con, case, used) if joins else _Oracle(con, case, used[0]).answer()


def _joined(con: duckdb.DuckDBPyConnection, case: Case, streams: Sequence[StreamInput]) -> Answer:
    """The answer of a join, of whose rows none is late."""
    if _WINDOW.search(case.query):
        raise Inapplicable("a window of several streams")
    parts = [_Oracle(con, case, stream) for stream in streams]
    for part in parts:
        part.load_alone()
    return parts[0].result()


class _Oracle:
    def __init__(self, con: duckdb.DuckDBPyConnection, case: Case, stream: StreamInput) -> None:
        self._con = con
        self._case = case
        self._stream = stream
        self._declaration = _AT.sub('"at"', stream.declaration)
        topic = _TOPIC.search(self._declaration)
        if topic is not None:
            self._declaration = f"{self._declaration[: topic.start()]}{_MESSAGE_COLUMNS}{topic.group(1) or ''})"
        self._time, self._delay = self._watermark()
        if topic is not None and self._time is None and _WINDOW.search(case.query):
            self._time = "_timestamp"
        self._query = _AT.sub('"at"', _EMIT.sub("", case.query.rstrip("; \n")))
        if self._query.upper().startswith("CREATE"):
            raise Inapplicable("not a SELECT")
        windows = _WINDOW.findall(self._query)
        if len(windows) > 1 or re.search(r"\bWINDOW\s+(TUMB|HOP|SLID|SESS|CUMU)", self._query, re.I):
            raise Inapplicable("another spelling of a window")
        self._window: tuple[str, list[str]] | None = None
        if windows:
            self._window = (windows[0][0].upper(), [each.strip() for each in windows[0][1].split(",")])

    def _watermark(self) -> tuple[str | None, int]:
        found = _WATERMARK.search(self._declaration)
        if found is None:
            return None, 0
        return found.group(1), int(found.group(2) or 0) * _SQL_UNITS[(found.group(3) or "SECOND").upper()]

    def answer(self) -> Answer:
        self._load()
        # Each query of a union reads all rows.
        united = re.search(r"\bUNION\s+ALL\b", self._query, re.I) is not None
        read = None if united else self._count("base")
        late = self._count(f"base WHERE {self._late()}")
        self._prepare()
        found = self.result()
        try:
            filtered = None if united else self._filtered()
        except duckdb.Error as error:
            raise Inapplicable(f"does not run in DuckDB: {error}") from error
        return replace(found, read=read, late=late, filtered=filtered)

    def load_alone(self) -> None:
        """The stream as a table of its name, beside others."""
        self._load()
        self._prepare()
        self._con.execute("DROP TABLE base")
        self._con.execute("DROP TABLE typed")

    def result(self) -> Answer:
        """The answer over tables that are loaded."""
        try:
            result = self._con.sql(self._sql()).to_arrow_table()
        except duckdb.Error as error:
            raise Inapplicable(f"does not run in DuckDB: {error}") from error
        rows = tuple(zip(*(column.to_pylist() for column in result.columns), strict=True)) if result.num_rows else ()
        aggregates = re.search(r"\bGROUP\s+BY\b|\bEMIT\b", self._case.query, re.I) is not None
        return Answer(tuple(_name(name) for name in result.column_names), rows, None, 0, None, aggregates)

    def _count(self, relation: str) -> int:
        row = self._con.execute(f"SELECT count(*) FROM {relation}").fetchone()
        assert row is not None
        return int(row[0])

    # -- rows

    def _load(self) -> None:
        """`base`: the rows in order of arrival, with `_partition`, `_position` and `_bound`, below which is late."""
        columns = _WATERMARK.sub("", self._declaration)
        name = self._stream.name
        if re.search(r"\bWITH\b", columns, re.I):
            raise Inapplicable("the stream has settings")
        if re.search(r"\bNOT\s+NULL\b", columns, re.I):
            raise Inapplicable("a column without NULL")
        try:
            self._con.execute(f"CREATE TABLE typed ({columns.removeprefix(name).strip()[1:-1]})")
        except duckdb.Error as error:
            raise Inapplicable(f"not DuckDB's columns: {error}") from error
        types = {row[0]: row[1] for row in self._con.execute("DESCRIBE typed").fetchall()}
        self._con.execute("CREATE TABLE base AS SELECT *, 0 AS _partition, 0::BIGINT AS _position FROM typed")
        if any(re.fullmatch(r"DECIMAL\((1[6-9]|[23]\d),\d+\)", type_) for type_ in types.values()):
            raise Inapplicable("DuckDB reads decimals of JSON as floats")
        for number, content in enumerate(self._stream.partitions.values()):
            self._load_partition(number, content, types)
        if self._time is not None and self._count(f"base WHERE {self._time} IS NULL"):
            raise Inapplicable("a row without event time")
        bound = f"{_NEVER}::BIGINT"
        if self._time is not None and self._window is not None:
            frame = "PARTITION BY _partition ORDER BY _position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"
            behind = self._delay + self._lateness()
            bound = f"coalesce(max(epoch_us({self._time})) OVER ({frame}) - {behind}, {_NEVER})"
        self._con.execute(f"CREATE OR REPLACE TABLE base AS SELECT *, {bound} AS _bound FROM base")

    def _load_partition(self, number: int, content: Content, types: dict[str, str]) -> None:
        if isinstance(content, RawRecords) and content.format == "csv":
            raise Inapplicable("raw CSV")
        lines = list(_lines(content, types))
        if any(word in line for line in lines for word in (b"NaN", b"Infinity")):
            raise Inapplicable("DuckDB reads numbers that are not finite")
        if isinstance(content, RawRecords) and any(re.search(rb":\s*-?\d+[.eE]", line) for line in lines):
            raise Inapplicable("DuckDB reads numbers of JSON as floats")
        with TemporaryDirectory() as folder:
            path = Path(folder) / "rows.json"
            path.write_bytes(b"".join(line + b"\n" for line in lines))
            read = {name: type_.replace("TIMESTAMP", "TIMESTAMPTZ") for name, type_ in types.items()}
            spec = ", ".join(f"'{name}': '{type_}'" for name, type_ in read.items())
            typed = ", ".join(_with_sorted_maps(f'"{name}"::{type_}', type_) for name, type_ in types.items())
            source = f"read_json('{path}', format='newline_delimited', columns={{{spec}}})"
            try:
                self._con.execute(
                    f"INSERT INTO base SELECT {typed}, {number}, row_number() OVER () FROM {source}"
                    if lines
                    else "SELECT 1"
                )
            except duckdb.Error as error:
                raise Inapplicable(f"a row does not decode: {error}") from error

    def _lateness(self) -> int:
        found = _DURATION.fullmatch(self._case.settings.get("allowed.lateness", "0s"))
        if found is None:
            raise Inapplicable("another spelling of a duration")
        return int(found.group(1)) * _UNITS[found.group(2)]

    def _late(self) -> str:
        match self._window:
            case None:
                return "false"
            case "TUMBLE", [_, size]:
                return f"epoch_us(time_bucket({size}, {self._time}, {_ORIGIN}) + {size}) <= _bound"
            case "HOP", [_, slide, _size]:
                last = f"time_bucket({slide}, {self._time}, {_ORIGIN}) + {_size}"
                return f"epoch_us({last}) <= _bound"
            case "CUMULATE", [_, _, size]:
                return f"epoch_us(time_bucket({size}, {self._time}, {_ORIGIN}) + {size}) <= _bound"
            case "SESSION", _:
                return f"epoch_us({self._time}) < _bound"
        raise Inapplicable("another spelling of a window")

    # -- the query

    def _prepare(self) -> None:
        """The table that the query names: rows that are not late, in stream order; or in windows already."""
        order = "_partition, _position" if self._time is None else f"{self._time}, _partition, _position"
        if self._window is None:
            order = "_partition, _position" if not _groups(self._query) else order
        hidden = " EXCLUDE (_partition, _position, _bound)" if self._window is None else ""
        rows = f"SELECT *{hidden} FROM base WHERE NOT {self._late()} ORDER BY {order}"
        match self._window:
            case "HOP", [_, slide, size]:
                steps = f"range(0, epoch_us({size}::INTERVAL), epoch_us({slide}::INTERVAL))"
                last = f"time_bucket({slide}, {self._time}, {_ORIGIN})"
                starts = f"list_transform({steps}, lambda step: {last} - to_microseconds(step))"
                rows = f"SELECT *, unnest({starts}) AS window_start FROM ({rows})"
                rows = f"SELECT *, window_start + {size} AS window_end FROM ({rows})"
                rows = f"SELECT * FROM ({rows}) WHERE epoch_us(window_end) > _bound AND {self._time} < window_end"
            case "CUMULATE", [_, step, size]:
                begin = f"time_bucket({size}, {self._time}, {_ORIGIN})"
                first = f"time_bucket({step}, {self._time}, {_ORIGIN}) + {step}"
                ends = f"generate_series({first}, {begin} + {size}, {step})"
                rows = f"SELECT *, {begin} AS window_start, unnest({ends}) AS window_end FROM ({rows})"
                rows = f"SELECT * FROM ({rows}) WHERE epoch_us(window_end) > _bound"
            case "SESSION", [_, gap]:
                rows = self._sessions(rows, gap)
            case _:
                pass
        self._con.execute(f"CREATE TABLE {self._stream.name} AS {rows}")

    def _sessions(self, rows: str, gap: str) -> str:
        if re.search(r"\bWITH\b|\(\s*SELECT\b", self._query, re.I):
            raise Inapplicable("a session over a subquery")
        where = _WHERE.search(self._query)
        keys = self._keys()
        part = f"PARTITION BY {', '.join(keys)}" if keys else ""
        order = f"ORDER BY {self._time}, _partition, _position"
        rows = f"SELECT * FROM ({rows}) WHERE {where.group(1) if where else 'true'}"
        first = f"coalesce({self._time} - lag({self._time}) OVER ({part} {order}) >= {gap}, true)"
        rows = f"SELECT *, {first} AS _first FROM ({rows})"
        rows = f"SELECT *, sum(_first::INT) OVER ({part} {order} ROWS UNBOUNDED PRECEDING) AS _session FROM ({rows})"
        part = ", ".join([*keys, "_session"])
        bounds = f"min({self._time}) OVER w AS window_start, max({self._time}) OVER w + {gap} AS window_end"
        rows = f"SELECT *, {bounds} FROM ({rows}) WINDOW w AS (PARTITION BY {part})"
        return f"SELECT * FROM ({rows}) {order}"

    def _keys(self) -> list[str]:
        text = re.split(r"\bGROUP\s+BY\b", self._query, flags=re.I)[-1]
        text = re.split(r"\bHAVING\b", _WINDOW.sub("", text), flags=re.I)[0]
        keys = [key.strip() for key in text.split(",") if key.strip()]
        if not all(re.fullmatch(r'"?\w+"?', key) and not key.isdigit() for key in keys):
            raise Inapplicable("a session of a key that is not a column")
        return keys

    def _sql(self) -> str:
        match self._window:
            case "TUMBLE", [time, size]:
                start = f"time_bucket({size}, {time}, {_ORIGIN})"
                text = re.sub(r"\bwindow_end\b", f"({start} + {size})", _WINDOW.sub(start, self._query), flags=re.I)
                return re.sub(r"\bwindow_start\b", start, text, flags=re.I)
            case None:
                return self._query
            case _:
                return _WINDOW.sub("window_start, window_end", self._query)

    def _filtered(self) -> int | None:
        if re.search(r"\bWITH\b|\(\s*SELECT\b", self._query, re.I):
            return None
        where = _WHERE.search(self._query)
        if where is None:
            return 0
        kept = f"SELECT * FROM base WHERE NOT {self._late()}"
        try:
            passed = self._count(f"({kept}) AS {self._stream.name} WHERE {where.group(1)}")
        except duckdb.BinderException:  # another alias of the stream
            return None
        return self._count(f"({kept})") - passed


def _with_sorted_maps(value: str, type_: str) -> str:
    """DuckDB tells maps apart by the order of their entries, of which here there is one."""
    if not type_.startswith("MAP("):
        return value
    if type_.endswith("[]"):
        return f"list_transform({value}, lambda m: map_from_entries(list_sort(map_entries(m))))"
    return f"map_from_entries(list_sort(map_entries({value})))"


def _name(name: str) -> str:
    """The name that a column has in the query as it is written."""
    if name.startswith("time_bucket("):
        return "window_start"
    return "window_end" if name.startswith("(time_bucket(") else name


def _lines(content: Content, types: dict[str, str]) -> Iterator[bytes]:
    if isinstance(content, RawRecords):
        yield from (record for record in content.records if record.strip())
        return
    for row in content.rows:
        fields = zip(content.columns, row, strict=True)
        yield ("{" + ", ".join(f'"{name}": {json_text(cell, types[name])}' for name, cell in fields) + "}").encode()


def _groups(query: str) -> bool:
    return re.search(r"\bGROUP\s+BY\b", query, re.I) is not None


def in_emission_order(answer: Answer) -> list[tuple[object, ...]]:
    """Rows by window end, window start and the rest from the left, NULL last; input order without an aggregate."""
    if not answer.aggregates:
        return list(answer.rows)
    first: Sequence[int] = [
        answer.columns.index(name) for name in ("window_end", "window_start") if name in answer.columns
    ]
    places = [*first, *(n for n in range(len(answer.columns)) if n not in first)]
    return sorted(answer.rows, key=lambda row: [(row[n] is None, _sortable(row[n])) for n in places])


def _sortable(value: object) -> object:
    match value:
        case None:
            return 0
        case dict() | list():
            return str(value)
        case timedelta():
            return value.total_seconds()
        case _:
            return value
