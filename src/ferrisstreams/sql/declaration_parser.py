"""What stands in the brackets of a declaration: columns, the watermark, and the key of a table."""

from __future__ import annotations

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from ferrisstreams.sql.located_parser import LocatedParser
from ferrisstreams.sql.refusals import refused_create
from ferrisstreams.sql.reserved import quote_hint
from ferrisstreams.sql.syntax import PrimaryKey, RefusedSyntaxError, StreamColumn, WatermarkFor, mark, token_span


class DeclarationParser(LocatedParser):
    def _parse_declaration(self, table: bool) -> exp.Expression:
        if self._curr.text.upper() == "WATERMARK" and self._next.token_type == TokenType.FOR:
            return self._parse_watermark()
        first = self._curr
        if self._match(TokenType.PRIMARY_KEY):
            self._require_table(table)
            names = self._parse_wrapped_items(lambda: self._parse_name("a column of the key"))
            return self._primary_key(first, names)
        self._refuse_value_name(first)
        name = self._parse_name("a column name")
        kind_token = self._curr
        kind = self._parse_types(allow_identifiers=False) if self._curr else None
        if not isinstance(kind, exp.DataType):
            raise RefusedSyntaxError(
                token_span(kind_token or first),
                f"{kind_token.text} is not a type"
                if kind_token and kind_token.text.isidentifier()
                else f"column {name.name} has no type",
                "E1102",
                "types are those of DuckDB, such as BIGINT, DOUBLE, VARCHAR, DECIMAL(10,2), TIMESTAMP, BOOLEAN",
            )
        mark(kind, kind_token, self._prev)
        not_null, key = self._parse_constraints(name, table)
        column = StreamColumn(this=name, kind=kind, not_null=not_null, key=key)
        mark(column, first, self._prev)
        return column

    def _refuse_value_name(self, token: Token) -> None:
        """Without quotes `null` or `current_date` would be a value wherever the column is read."""
        if token.token_type in (TokenType.NULL, TokenType.TRUE, TokenType.FALSE, *self.NO_PAREN_FUNCTIONS):
            raise RefusedSyntaxError(
                token_span(token), f"{token.text} is a value of SQL, not a name", "E1001", quote_hint(token.text)
            )

    def _parse_constraints(self, name: exp.Expression, table: bool) -> tuple[bool, PrimaryKey | None]:
        """Of a column: whether it is NOT NULL, and the key that it is."""
        not_null, key = False, None
        while True:
            if self._match_text_seq("NOT", "NULL"):
                not_null = True
            elif self._match(TokenType.PRIMARY_KEY):
                self._require_table(table)
                key = self._primary_key(self._prev, [name])
            elif self._match_text_seq("KEY", advance=False):
                raise refused_create("KEY", token_span(self._curr))
            elif not self._match(TokenType.NULL):
                return not_null, key

    def _require_table(self, table: bool) -> None:
        if not table:
            raise refused_create("PRIMARY KEY", token_span(self._prev))

    def _primary_key(self, first: Token, names: list[exp.Expression]) -> PrimaryKey:
        """`NOT ENFORCED` says what holds of every table here."""
        self._match_text_seq("NOT", "ENFORCED")
        key = PrimaryKey(expressions=[name.copy() for name in names])
        key.meta["start"], key.meta["end"] = first.start, self._prev.end
        return key

    def _parse_watermark(self) -> WatermarkFor:
        first = self._curr
        self._advance(2)
        name = self._parse_name("the event-time column after WATERMARK FOR")
        self._expect(TokenType.ALIAS, "AS and an expression")
        expression = self._parse_disjunction()
        if expression is None:
            self._fail_expected("an expression such as ts - INTERVAL '5' SECOND")
        watermark = WatermarkFor(this=name, expression=expression)
        mark(watermark, first, self._prev)
        return watermark
