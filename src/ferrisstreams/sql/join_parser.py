"""The clause of a join that standard SQL does not have: `JOIN b WITHIN 1 HOUR GRACE PERIOD 5 MINUTES ON …`."""

from __future__ import annotations

from typing import Any

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from ferrisstreams.sql.syntax import TABLE_WITHIN, Within, mark
from ferrisstreams.sql.window_parser import WindowParser

_LENGTHS = (TokenType.NUMBER, TokenType.STRING, TokenType.INTERVAL, TokenType.L_PAREN)


class JoinParser(WindowParser):
    def _is_within(self) -> bool:
        """Whether WITHIN and a length come, and not a name."""
        word = self._curr
        return word.token_type == TokenType.VAR and word.text.upper() == "WITHIN" and self._next.token_type in _LENGTHS

    def _parse_table(self, *where: Any, **how: Any) -> exp.Expr | None:
        table = super()._parse_table(*where, **how)
        if table is not None and self._curr and self._is_within():
            table.set(TABLE_WITHIN, self._parse_within())
        return table

    def _parse_within(self) -> Within:
        first = self._curr
        self._advance()
        if self._match(TokenType.L_PAREN):
            lengths = [self._parse_window_value()]
            self._expect(TokenType.COMMA, ", and how long after")
            lengths.append(self._parse_window_value())
            self._expect(TokenType.R_PAREN, ")")
        else:
            lengths = [self._parse_window_value()]
        grace = self._parse_window_value() if self._match_text_seq("GRACE", "PERIOD") else None
        within = Within(expressions=lengths, grace=grace)
        mark(within, first, self._prev)
        return within
