"""Words that SQL reads in another way than as a name: where one is lost, the hint says to quote it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot.tokenizer_core import Token, TokenType

from ferrisstreams.sql.syntax import RefusedSyntaxError, token_span

#: Something follows each of these. sqlglot reads on without it, and the word is gone: `SELECT all, id` is `SELECT id`.
_OPENING = frozenset(
    {
        TokenType.ALIAS, TokenType.ALL, TokenType.ANY, TokenType.DISTINCT, TokenType.EXCEPT, TokenType.FETCH,
        TokenType.FROM, TokenType.INTERSECT, TokenType.INTO, TokenType.JOIN, TokenType.LATERAL, TokenType.UNION,
    }
)  # fmt: skip

#: What stands behind a value, and so not behind those.
_CLOSING = frozenset(
    {
        TokenType.COMMA, TokenType.R_PAREN, TokenType.PLUS, TokenType.DASH, TokenType.SLASH, TokenType.DPIPE,
        TokenType.DCOLON, TokenType.GT, TokenType.GTE, TokenType.LT, TokenType.LTE, TokenType.NEQ,
    }
)  # fmt: skip

#: A value may follow these, and a value may begin with a sign.
_BEFORE_VALUES = frozenset({TokenType.DISTINCT, TokenType.FROM})

_NEVER_LAST = (TokenType.ALL, TokenType.DISTINCT, TokenType.FETCH)
_BEFORE_ITEMS = (TokenType.SELECT, TokenType.COMMA, TokenType.L_PAREN)
_NAMES = (TokenType.VAR, TokenType.IDENTIFIER)


def refuse_lost_words(tokens: Sequence[Token]) -> None:
    """Raises `RefusedSyntaxError` for a word of SQL that stands where a name would."""
    settings = _places_of_settings(tokens)
    for at, token in enumerate(tokens):
        if token.token_type not in _OPENING or at in settings:
            continue
        before = tokens[at - 1].token_type if at else None
        behind = tokens[at + 1].token_type if at + 1 < len(tokens) else None
        if before in (TokenType.DOT, TokenType.ALIAS) or (before, token.token_type) in _COMPLETE:
            continue
        signed = token.token_type in _BEFORE_VALUES and behind in (TokenType.PLUS, TokenType.DASH)
        bare = token.token_type in _NEVER_LAST and behind in (None, TokenType.FROM)
        begins = token.token_type is TokenType.ALIAS and before in _BEFORE_ITEMS
        if (behind in _CLOSING and not signed) or bare or begins:
            raise RefusedSyntaxError(
                token_span(token), f"{token.text} is a word of SQL here, not a name", "E1001", quote_hint(token.text)
            )


def _places_of_settings(tokens: Sequence[Token]) -> frozenset[int]:
    """Where the settings of `WITH (…)` are, whose keys may be made of any words: `fetch-size`."""
    found: list[int] = []
    depth = 0
    for at, token in enumerate(tokens):
        opens = token.token_type is TokenType.L_PAREN
        if depth or (opens and at and tokens[at - 1].token_type is TokenType.WITH):
            found.append(at)
            depth += opens - (token.token_type is TokenType.R_PAREN)
    return frozenset(found)


#: Pairs that need nothing behind them, or a word: `GROUP BY ALL`, `IS NOT DISTINCT FROM`.
_COMPLETE = frozenset(
    {
        *((before, TokenType.ALL) for before in (TokenType.GROUP_BY, TokenType.ORDER_BY, TokenType.UNION)),
        *((before, TokenType.ALL) for before in (TokenType.EXCEPT, TokenType.INTERSECT)),
        *((before, TokenType.DISTINCT) for before in (TokenType.IS, TokenType.NOT, TokenType.UNION)),
    }
)


def quote_hint(word: str) -> str:
    return f'quote it where it is a name: "{word}"'


def is_lost_name(token: Token, behind: Sequence[Token]) -> bool:
    """Whether an unquoted word of SQL stands where a name would: before what stands behind a value."""
    follows = behind[0].token_type if behind else None
    name_like = token.token_type not in _NAMES and token.text.isidentifier()
    return name_like and (follows is None or follows in _CLOSING or follows in _BEHIND_NAMES)


#: What stands behind a name in a list, a condition or a declaration, besides.
_BEHIND_NAMES = frozenset({TokenType.FROM, TokenType.EQ, TokenType.ALIAS, TokenType.IN, TokenType.IS, TokenType.INT})
