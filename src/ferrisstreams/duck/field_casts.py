"""Casts of a struct's fields, kept where the statement has them.

The engine moves `CAST(s.f AS …)` into the scan of the table that holds `s`, out of the CASE that keeps it from rows
which it must not see: one such row would fail the whole statement. A field behind COALESCE stays where it is.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlglot import exp

_FIELD_CALLS = ("struct_extract", "struct_extract_at")


def keep_in_place(casts: Iterable[exp.Expr]) -> None:
    """Change those casts of a tree that are such."""
    for cast in casts:
        if not isinstance(cast, exp.TryCast) and _is_field(cast.this.unnest()):
            cast.set("this", exp.Coalesce(this=cast.this, expressions=[exp.null()]))


def _is_field(value: exp.Expr) -> bool:
    if isinstance(value, exp.Anonymous):
        return value.name.lower() in _FIELD_CALLS
    return isinstance(value, exp.StructExtract | exp.Bracket | exp.Dot)
