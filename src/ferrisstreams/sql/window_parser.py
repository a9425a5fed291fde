"""Windows in every spelling: functions of GROUP BY, `WINDOW …` clauses, and table functions in FROM."""

from __future__ import annotations

from difflib import get_close_matches

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from ferrisstreams.sql.durations import is_unit, unit_name
from ferrisstreams.sql.located_parser import LocatedParser
from ferrisstreams.sql.syntax import (
    TABLE_WINDOW,
    TABLE_WINDOW_KEYS,
    NamedArgument,
    RefusedSyntaxError,
    StreamWindow,
    WindowBound,
    mark,
    token_span,
)

#: Windows as functions in GROUP BY, and as `WINDOW …` clauses.
WINDOW_FUNCTIONS = ("TUMBLE", "HOP", "SESSION", "CUMULATE")
WINDOW_CLAUSES = ("TUMBLING", "HOPPING", "SLIDING", "SESSION", "CUMULATING", "TUMBLE", "HOP")
WINDOW_BOUNDS = tuple(f"{kind}_{end}" for kind in ("TUMBLE", "HOP", "SESSION") for end in ("START", "END"))

_NAMED_ARGUMENTS = (("SIZE",), ("ADVANCE", "BY"), ("GRACE", "PERIOD"), ("RETENTION",))

#: Arguments of the table functions by their names, in the order in which they stand without; behind them an offset.
_TABLE_ARGUMENTS = {
    "TUMBLE": ("SIZE",),
    "HOP": ("SLIDE", "SIZE"),
    "SESSION": ("GAP",),
    "CUMULATE": ("STEP", "SIZE"),
}


class WindowParser(LocatedParser):
    def _parse_windows(self) -> list[exp.Expr] | None:
        """`WINDOW TUMBLING(1m)`, or standard SQL's named windows."""
        if self._next.text.upper() not in WINDOW_CLAUSES:
            self._refuse_unknown_window()
            return self._parse_window_clause()
        self._advance()
        first = self._curr
        self._advance()
        if not self._match(TokenType.L_PAREN, advance=False):
            self._fail_expected(f"( after {first.text.upper()}")
        items = [_seconds(item) for item in self._parse_wrapped_items(self._parse_window_argument)]
        window = _window(first, items, clause=True)
        mark(window, first, self._prev)
        return [window]

    def _refuse_unknown_window(self) -> None:
        """`WINDOW name (` without AS is not a named window of standard SQL."""
        name, behind = self._next, self._tokens[self._index + 2 : self._index + 3]
        if behind and behind[0].token_type == TokenType.L_PAREN:
            near = get_close_matches(name.text.upper(), WINDOW_CLAUSES, 1, 0.6)
            raise RefusedSyntaxError(
                token_span(name),
                f"there is no window {name.text}",
                "E1001",
                f"did you mean {near[0]}?" if near else f"the windows are {', '.join(WINDOW_CLAUSES[:5])}",
            )

    def _parse_window_function(self) -> StreamWindow:
        name = self._tokens[self._index - 2]
        window = _window(name, self._parse_window_arguments(), clause=False)
        mark(window, name)
        return window

    def _parse_window_bound(self) -> WindowBound:
        name = self._tokens[self._index - 2]
        bound = WindowBound(this=name.text.upper(), expressions=self._parse_window_arguments())
        mark(bound, name)
        return bound

    def _parse_window_arguments(self) -> list[exp.Expression]:
        items = [] if self._match(TokenType.R_PAREN, advance=False) else self._parse_items(self._parse_window_argument)
        if not self._match(TokenType.R_PAREN, advance=False):
            self._fail_expected(")")
        return items

    def _parse_window_argument(self) -> exp.Expression:
        for words in _NAMED_ARGUMENTS:
            first = self._curr
            if self._next.token_type not in (TokenType.COMMA, TokenType.R_PAREN) and self._match_text_seq(*words):
                named = NamedArgument(this=" ".join(words), expression=self._parse_window_value())
                mark(named, first, self._prev)
                return named
        return self._parse_window_value()

    def _parse_window_value(self) -> exp.Expression:
        number = self._curr
        if number.token_type == TokenType.NUMBER and is_unit(self._next.text):
            self._advance(2)
            interval = exp.Interval(this=exp.Literal.string(number.text), unit=exp.var(unit_name(self._prev.text)))
            mark(interval, number, self._prev)
            return interval
        value = self._parse_disjunction()
        if not isinstance(value, exp.Expression):
            self._fail_expected("a column, or a length such as INTERVAL '1' MINUTE or 1m")
        if number.token_type == TokenType.NUMBER and self._curr and self._curr.token_type == TokenType.VAR:
            raise RefusedSyntaxError(
                token_span(self._curr),
                f"{self._curr.text} is not a unit of time",
                "E1001",
                "units are ms, s, m, h, d, or words such as SECONDS and MINUTES",
            )
        mark(value, number, self._prev)
        return value

    def _parse_windowed_table(self) -> exp.Table:
        """`TABLE(TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '1' MINUTE))`, or without TABLE and DESCRIPTOR.

        The table carries the window as `window`, and the keys of a session's PARTITION BY as `window_keys`.
        """
        wrapped = self._match(TokenType.TABLE)
        if wrapped:
            self._expect(TokenType.L_PAREN, "( after TABLE")
        name = self._curr
        spelling = name.text.upper() if name else ""
        if spelling not in WINDOW_FUNCTIONS:
            self._fail_expected(f"one of {', '.join(WINDOW_FUNCTIONS)}")
        self._advance()
        self._expect(TokenType.L_PAREN, f"( after {spelling}")
        table = self._parse_windowed_name()
        keys = self._parse_window_keys() if self._match(TokenType.PARTITION_BY) else []
        arguments = self._parse_table_arguments(spelling)
        self._expect(TokenType.R_PAREN, ", or )")
        window = _window(name, arguments, clause=False)
        mark(window, name, self._prev)
        if wrapped:
            self._expect(TokenType.R_PAREN, ")")
        table.set(TABLE_WINDOW, window)
        table.set(TABLE_WINDOW_KEYS, keys)
        return table

    def _parse_windowed_name(self) -> exp.Table:
        self._match_argument_name("DATA")
        self._match(TokenType.TABLE)
        table = self._parse_table_parts()
        if not isinstance(table, exp.Table):
            self._fail_expected("the name of a stream")
        return table

    def _parse_window_keys(self) -> list[exp.Expression]:
        """Keys in parentheses, or without them up to DESCRIPTOR."""
        if self._match(TokenType.L_PAREN, advance=False):
            return self._parse_wrapped_items(self._parse_key)
        keys = [self._parse_key()]
        while self._next and self._next.text.upper() not in ("DESCRIPTOR", "TIMECOL"):
            self._expect(TokenType.COMMA, ", and DESCRIPTOR(column)")
            keys.append(self._parse_key())
        return keys

    def _parse_key(self) -> exp.Expression:
        key = self._parse_column()
        if not isinstance(key, exp.Expression):
            self._fail_expected("a column after PARTITION BY")
        return key

    def _parse_table_arguments(self, spelling: str) -> list[exp.Expression]:
        """The time, then the lengths in the order of the function in GROUP BY, then an offset."""
        names = (*_TABLE_ARGUMENTS[spelling], "OFFSET")
        found: dict[str, exp.Expression] = {}
        self._expect(TokenType.COMMA, ", and the column of the event time")
        self._match_argument_name("TIMECOL")
        time = self._parse_descriptor()
        while self._match(TokenType.COMMA):
            first = self._curr
            named = next((name for name in names if self._match_argument_name(name)), None)
            name = named or next((name for name in names if name not in found), None)
            if name is None or name in found:
                self.raise_error(f"{spelling} has too many arguments", first)
            found[name] = self._parse_window_value()
        return [time, *[found[name] for name in names if name in found]]

    def _match_argument_name(self, name: str) -> bool:
        """`name =>` in front of an argument."""
        if self._curr and self._curr.text.upper() == name and self._next and self._next.token_type == TokenType.FARROW:
            self._advance(2)
            return True
        return False

    def _parse_descriptor(self) -> exp.Expression:
        first = self._curr
        described = self._match_text_seq("DESCRIPTOR")
        if described:
            self._expect(TokenType.L_PAREN, "( after DESCRIPTOR")
        time = self._parse_column()
        if not isinstance(time, exp.Expression):
            self._fail_expected("the column of the event time")
        if described:
            self._expect(TokenType.R_PAREN, ")")
        mark(time, first, self._prev)
        return time


def _window(name: Token, arguments: list[exp.Expression], clause: bool) -> StreamWindow:
    return StreamWindow(
        this=name.text.upper(),
        expressions=[item for item in arguments if not isinstance(item, NamedArgument)],
        named=[item for item in arguments if isinstance(item, NamedArgument)],
        clause=clause,
    )


def _seconds(item: exp.Expression) -> exp.Expression:
    """In a clause a bare number counts seconds."""
    if not isinstance(item, exp.Literal) or item.is_string:
        return item
    interval = exp.Interval(this=exp.Literal.string(item.name), unit=exp.var("SECOND"))
    interval.meta.update(item.meta)
    return interval
