"""Syntax nodes that sqlglot does not have: the statements and clauses of streams.

`meta["start"]` and `meta["end"]` (the last character) hold places, as sqlglot keeps them.
"""

from __future__ import annotations

from typing import ClassVar

from sqlglot import exp
from sqlglot.tokenizer_core import Token

from ferrisstreams.sql.source_text import Span


class CreateStream(exp.Expression):
    """`this` is the name; `columns`, `watermarks` and `keys` for a declaration, `query`, `emit` and `into` for a job;
    `table`: it is `CREATE TABLE`."""

    arg_types: ClassVar[dict[str, bool]] = {
        "this": True,
        "columns": False,
        "watermarks": False,
        "keys": False,
        "table": False,
        "properties": False,
        "query": False,
        "emit": False,
        "into": False,
    }


class CreateView(exp.Expression):
    arg_types: ClassVar[dict[str, bool]] = {"this": True, "query": True}


class SelectAlone(exp.Expression):
    arg_types: ClassVar[dict[str, bool]] = {"query": True, "emit": False, "properties": False, "into": False}


class StreamColumn(exp.Expression):
    """`key` is a `PrimaryKey` of this column alone."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "kind": True, "not_null": False, "key": False}


class PrimaryKey(exp.Expression):
    """`PRIMARY KEY (expressions)`: the names of the columns."""

    arg_types: ClassVar[dict[str, bool]] = {"expressions": True}


class WatermarkFor(exp.Expression):
    """`WATERMARK FOR this AS expression`."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "expression": True}


class StreamProperty(exp.Expression):
    """`this` is the key as an identifier, `expression` a literal or a boolean."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "expression": True}


class EmitClause(exp.Expression):
    """`this` is `FINAL` or `CHANGES`."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True}


class StreamWindow(exp.Expression):
    """A window as written: `this` is the spelling (`TUMBLE`, `HOPPING` …), `expressions` its arguments by place,
    `named` those by name (`SIZE`, `ADVANCE BY` …); `clause` tells `WINDOW …` from a function in GROUP BY."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "expressions": False, "named": False, "clause": False}


#: Arguments that a table of FROM carries when it is a window's table function: the `StreamWindow`, and the keys of a
#: session's PARTITION BY.
TABLE_WINDOW, TABLE_WINDOW_KEYS = "window", "window_keys"


class NamedArgument(exp.Expression):
    """`SIZE 1 MINUTE`: `this` is the name, `expression` the duration."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "expression": True}


class WindowBound(exp.Expression):
    """`TUMBLE_START(…)` and its like: `this` is the spelling, `expressions` the arguments."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "expressions": False}


#: The argument that a table of FROM carries when it is joined WITHIN a length of time: a `Within`.
TABLE_WITHIN = "within"


class Within(exp.Expression):
    """`WITHIN d` or `WITHIN (before, after)`: `expressions` are the lengths, `grace` that of GRACE PERIOD."""

    arg_types: ClassVar[dict[str, bool]] = {"expressions": True, "grace": False}


class MessageKey(exp.Expression):
    """`item PRIMARY KEY` in a select list."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True}


class RefusedSyntaxError(Exception):
    """Raised inside the parser, where the path of the text is not known; becomes a `SqlError`."""

    def __init__(self, span: Span, message: str, code: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.span = span
        self.message = message
        self.code = code
        self.hint = hint


def token_span(token: Token) -> Span:
    return Span(token.start, token.end + 1)


def mark(node: exp.Expr, first: Token, last: Token | None = None) -> None:
    """Note where a node stands, unless it is known."""
    if node.meta_get("start") is None:
        node.meta["start"] = first.start
        node.meta["end"] = (last or first).end


def span_of(node: exp.Expr) -> Span | None:
    """The text that the node and all below it cover, as far as known."""
    starts: list[int] = []
    ends: list[int] = []
    for part in node.walk():
        start = part.meta_get("start")
        if start is not None:
            starts.append(start)
            ends.append(part.meta_get("end"))
    return Span(min(starts), max(ends) + 1) if starts else None
