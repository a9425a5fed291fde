"""What binding needs at hand: the text, DuckDB's knowledge of types, and the functions that there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import count

from sqlglot import exp

from ferrisstreams.duck.engine import Connection
from ferrisstreams.errors import SqlError
from ferrisstreams.sql.functions import Functions
from ferrisstreams.sql.source_text import SourceText, Span
from ferrisstreams.sql.syntax import span_of


@dataclass(slots=True)
class Context:
    """One statement being bound. `statement` is where errors stand that have no place of their own.

    `outside_law` collects what in the statement depends on the clock, on chance or on an approximation, in words.
    """

    source: SourceText
    connection: Connection
    functions: Functions
    statement: Span
    outside_law: list[str] = field(default_factory=list)
    marks: count[int] = field(default_factory=count)

    def error(self, at: exp.Expr | Span | None, message: str, code: str, hint: str | None = None) -> SqlError:
        span = span_of(at) if isinstance(at, exp.Expr) else at
        if span is None:
            span = Span(self.statement.start, self.statement.start + 1)
        return self.source.error(span, message, code, hint)

    def note_outside_law(self, what: str) -> None:
        if what not in self.outside_law:
            self.outside_law.append(what)


def nearest(name: str, known: Sequence[str]) -> str | None:
    """The known name that the author surely meant."""
    by_lower = {other.lower(): other for other in known}
    near = get_close_matches(name.lower(), list(by_lower), 1, 0.6)
    return by_lower[near[0]] if near else None


def did_you_mean(name: str, known: Sequence[str]) -> str | None:
    """A hint with the nearest of the known names, or with all of them when they are few."""
    near = nearest(name, known)
    if near is not None:
        return f"did you mean {near}?"
    return f"there is {', '.join(known)}" if 0 < len(known) <= _NAMES_SHOWN_MAX else None


#: More names than these would hide the message.
_NAMES_SHOWN_MAX = 12
