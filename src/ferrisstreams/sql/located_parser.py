"""sqlglot's parser with errors that say where: what the parsers of our own syntax share."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from sqlglot import exp
from sqlglot.errors import ParseError
from sqlglot.parsers.duckdb import DuckDBParser
from sqlglot.tokenizer_core import Token, TokenType

from ferrisstreams.sql.source_text import Span
from ferrisstreams.sql.syntax import token_span


class LocatedParseError(ParseError):
    """sqlglot's error with the offsets of the token that it is about; `at_end` when the statement ended too early."""

    def __init__(self, message: str, span: Span, at_end: bool) -> None:
        super().__init__(message, [{"description": message}])
        self.span = span
        self.at_end = at_end


class LocatedParser(DuckDBParser):
    """Names, lists and brackets, and errors at a token."""

    def raise_error(self, message: str, token: Token | None = None) -> NoReturn:
        at = token or self._curr or self._prev
        raise LocatedParseError(message, token_span(at) if at else Span(0, 0), not token and not self._curr)

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
