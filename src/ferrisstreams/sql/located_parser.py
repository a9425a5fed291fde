"""sqlglot's parser with errors that say where: what the parsers of our own syntax share."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from sqlglot import exp
from sqlglot.errors import ParseError
from sqlglot.parsers.duckdb import DuckDBParser
from sqlglot.tokenizer_core import Token, TokenType

from ferrisstreams.sql.durations import is_unit, unit_name
from ferrisstreams.sql.source_text import Span
from ferrisstreams.sql.syntax import RefusedSyntaxError, mark, token_span


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


def _place_joins(query: exp.Expr) -> None:
    """sqlglot gives the joins of `FROM a JOIN b` to the first table, and those behind SELECT to the query."""
    clause = query.args.get("from_")
    if clause is not None and clause.this.args.get("joins"):
        query.set("joins", [join.pop() for join in clause.this.args["joins"][:]])


def _is_text(node: exp.Expr) -> bool:
    return isinstance(node, exp.Literal) and node.is_string


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
            _place_joins(query)
        return query

    def _parse_interval(
        self, require_interval: bool = True, parse_function_unit: bool = True
    ) -> exp.Add | exp.Interval | None:
        """`INTERVAL '5' MINUTE`, `'5 minutes'`, `5 MINUTE`, `(n) MINUTE`; before anything else the word is a name.

        sqlglot's own reading drops what it does not know of a text (`2 hours ago`).
        """
        first, index = self._curr, self._index
        if not require_interval or not self._match(TokenType.INTERVAL):
            return None
        amount = self._parse_interval_amount()
        unit = self._parse_interval_unit(amount) if amount is not None else None
        if amount is None or (unit is None and not _is_text(amount)):
            if isinstance(amount, exp.Literal):
                self.raise_error("A number needs its unit: INTERVAL '5' MINUTE", first)
            self._retreat(index)
            return None
        if amount.find(exp.Query) is not None:
            raise RefusedSyntaxError(
                Span(first.start, self._prev.end + 1),
                "a query cannot be the length of an INTERVAL",
                "E1201",
                "write a number: INTERVAL '5' DAY",
            )
        interval = exp.Interval(this=amount, unit=unit)
        mark(interval, first, self._prev)
        return interval

    def _parse_interval_amount(self) -> exp.Expr | None:
        """A text, a number, something in parentheses, or a column."""
        if self._curr.token_type in (TokenType.STRING, TokenType.NUMBER):
            return self._parse_primary()
        if self._curr.token_type == TokenType.DASH and self._next.token_type == TokenType.NUMBER:
            self._advance(2)
            return exp.Neg(this=exp.Literal.number(self._prev.text))
        if self._curr.token_type == TokenType.L_PAREN:
            return self._parse_primary()
        return self._parse_column() if is_unit(self._next.text) else None

    def _parse_interval_unit(self, amount: exp.Expr) -> exp.Var | None:
        """The unit behind the amount. Behind a text that has units itself any other word is an alias."""
        if not self._curr or self._curr.token_type == TokenType.STRING:
            return None
        if is_unit(self._curr.text):
            self._advance()
            unit = self._prev
            if self._match_text_seq("TO"):
                raise RefusedSyntaxError(
                    Span(unit.start, self._curr.end + 1 if self._curr else self._prev.end + 1),
                    f"an INTERVAL of {unit.text.upper()} TO another unit is not supported",
                    "E1201",
                    "write the units in the text: INTERVAL '1 day 2 hours'",
                )
            return exp.Var(this=unit_name(unit.text))
        is_number = isinstance(amount, exp.Literal) and amount.name.strip(" +-").replace(".", "").isdigit()
        if is_number and self._curr.token_type == TokenType.VAR:
            raise RefusedSyntaxError(
                token_span(self._curr),
                f"{self._curr.text} is not a unit of time",
                "E1001",
                "units are MICROSECOND, MILLISECOND, SECOND, MINUTE, HOUR, DAY, WEEK, MONTH, QUARTER and YEAR",
            )
        return None

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
