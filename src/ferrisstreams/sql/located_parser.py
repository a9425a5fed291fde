"""sqlglot's parser with errors that say where: what the parsers of our own syntax share."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from sqlglot import exp
from sqlglot.errors import ParseError
from sqlglot.parsers.duckdb import DuckDBParser
from sqlglot.tokenizer_core import Token, TokenType

from ferrisstreams.sql.source_text import Span
from ferrisstreams.sql.syntax import RefusedSyntaxError, token_span


class LocatedParseError(ParseError):
    """sqlglot's error with the offsets of the token that it is about; `at_end` when the statement ended too early."""

    def __init__(self, message: str, span: Span, at_end: bool) -> None:
        super().__init__(message, [{"description": message}])
        self.span = span
        self.at_end = at_end


def _place_star(query: exp.Expr, first: Token) -> None:
    """sqlglot makes the star of `FROM t` out of a text of its own, whose places are not ours."""
    for star in query.find_all(exp.Star):
        if star.meta.get("start", first.start) < first.start:
            star.meta["start"], star.meta["end"] = first.start, first.end


class LocatedParser(DuckDBParser):
    """Names, lists and brackets, and errors at a token."""

    def raise_error(self, message: str, token: Token | None = None) -> NoReturn:
        at = token or self._curr or self._prev
        raise LocatedParseError(message, token_span(at) if at else Span(0, 0), not token and not self._curr)

    def _parse_select_query(
        self,
        nested: bool = False,
        table: bool = False,
        parse_subquery_alias: bool = True,
        parse_set_operation: bool = True,
    ) -> exp.Expr | None:
        first = self._curr
        query = super()._parse_select_query(nested, table, parse_subquery_alias, parse_set_operation)
        if first and first.token_type == TokenType.FROM and query is not None:
            _place_star(query, first)
        return query

    def _parse_interval(
        self, require_interval: bool = True, parse_function_unit: bool = True
    ) -> exp.Add | exp.Interval | None:
        first = self._curr
        interval = super()._parse_interval(require_interval, parse_function_unit)
        if interval is not None and first and interval.find(exp.Query) is not None:
            raise RefusedSyntaxError(
                Span(first.start, self._prev.end + 1),
                "a query cannot be the length of an INTERVAL",
                "E1201",
                "write a number: INTERVAL '5' DAY",
            )
        return interval

    def _parse_name(self, what: str) -> exp.Identifier:
        name = self._parse_id_var(any_token=False)
        if not isinstance(name, exp.Identifier):
            self._fail_expected(what)
        return name

    def _expect(self, kind: TokenType, what: str) -> None:
        if not self._match(kind):
            self._fail_expected(what)

    def _fail_expected(self, what: str) -> NoReturn:
        if self._curr:
            self.raise_error(f"Expected {what}, not {self._curr.text!r}")
        self.raise_error(f"Expected {what}, but the statement ends here")

    def _parse_items(self, item: Callable[[], exp.Expression]) -> list[exp.Expression]:
        """One item or more, with commas between."""
        items = [item()]
        while self._match(TokenType.COMMA):
            items.append(item())
        return items

    def _parse_wrapped_items(self, item: Callable[[], exp.Expression]) -> list[exp.Expression]:
        self._expect(TokenType.L_PAREN, "(")
        if self._match(TokenType.R_PAREN, advance=False):
            self._fail_expected("at least one item in the parentheses")
        items = self._parse_items(item)
        self._expect(TokenType.R_PAREN, ", or )")
        return items
