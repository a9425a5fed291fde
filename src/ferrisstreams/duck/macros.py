"""The macros that our own statements call. A connection defines one when a statement first names it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from sqlglot import exp

from ferrisstreams.duck.json_macros import JSON_MACROS

_PREFIX = "ferris_"

#: `total / count` of a decimal total as text with `scale` digits, rounded half away from zero. Whole numbers of the
#: total's smallest unit are divided, in two steps so that nothing exceeds 38 digits before the result itself does.
_DECIMAL_AVERAGE = {
    "ferris_digits": """(sign, digits, scale) AS
         sign || left(digits, length(digits) - scale) || '.' || right(digits, scale)""",
    # lpad cuts what is longer than its length.
    "ferris_padded": """(digits, scale) AS
         lpad(digits, CAST(greatest(length(digits), scale + 1) AS INTEGER), '0')""",
    "ferris_divide": """(u, n, unit, scale) AS
         ferris_digits(CASE WHEN u < 0 THEN '-' ELSE '' END,
           ferris_padded(CAST(abs(u) // n * unit + (2 * (abs(u) % n) * unit + n) // (2 * n) AS VARCHAR), scale),
           scale)""",
    "ferris_average": """(t, n, decimals, scale) AS
         ferris_divide(CAST(replace(t, '.', '') AS HUGEINT), n,
           CAST(rpad('1', CAST(1 + scale - decimals AS INTEGER), '0') AS HUGEINT), scale)""",
    "ferris_decimal_average": """(total, n, scale) AS
         ferris_average(CAST(total AS VARCHAR), n,
           CASE WHEN strpos(CAST(total AS VARCHAR), '.') = 0 THEN 0
                ELSE length(CAST(total AS VARCHAR)) - strpos(CAST(total AS VARCHAR), '.') END, scale)""",
}

#: The sum of whole numbers or decimals of one scale, given as texts, as a text: of any size.
_EXACT_SUM = {
    "ferris_decimals": """(number) AS
         CASE WHEN strpos(number, '.') = 0 THEN 0 ELSE length(number) - strpos(number, '.') END""",
    "ferris_pointed": """(digits, decimals) AS
         CASE WHEN decimals = 0 THEN digits
              ELSE ferris_digits(CASE WHEN starts_with(digits, '-') THEN '-' ELSE '' END,
                     ferris_padded(ltrim(digits, '-'), decimals), decimals) END""",
    "ferris_exact_sum": """(number) AS
         ferris_pointed(
           CAST(sum(CAST(replace(number, '.', '') AS BIGNUM)) AS VARCHAR), max(ferris_decimals(number)))""",
    "ferris_exact_sum_distinct": """(number) AS
         ferris_pointed(
           CAST(sum(DISTINCT CAST(replace(number, '.', '') AS BIGNUM)) AS VARCHAR), max(ferris_decimals(number)))""",
}

#: Whether a text is a number without a fraction, as `1.0` and `1.5e1` are.
_IS_WHOLE = {
    "ferris_has_no_fraction": """(whole, fraction, exponent) AS
         CASE WHEN trim(whole || fraction, '0') = '' THEN true
              WHEN fraction <> '' THEN length(fraction) <= exponent
              ELSE length(whole) - length(rtrim(whole, '0')) + exponent >= 0 END""",
    "ferris_is_whole": r"""(t) AS
         regexp_full_match(t, '\s*[+-]?[0-9]+(\.0*)?\s*')
         OR (regexp_full_match(t, '\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][+-]?[0-9]{1,6}\s*')
             AND ferris_has_no_fraction(
               regexp_extract(t, '([0-9]*)\.?[0-9]*[eE]', 1), rtrim(regexp_extract(t, '\.([0-9]*)', 1), '0'),
               TRY_CAST(regexp_extract(t, '[eE]([+-]?[0-9]+)', 1) AS INTEGER)))""",
}

_BODIES = {**_DECIMAL_AVERAGE, **_EXACT_SUM, **_IS_WHOLE, **JSON_MACROS}
_CALL = re.compile(rf"{_PREFIX}\w+")


def macros_among(calls: Iterable[exp.Expr]) -> tuple[str, ...]:
    """The names of the macros that are called."""
    return tuple(dict.fromkeys(call.name for call in calls if call.name in _BODIES))


def definitions(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The names and statements of these macros, each after those that it calls. They last as long as the connection."""
    for name in names:
        yield from definitions(_CALL.findall(_BODIES[name]))
        yield name, f"CREATE OR REPLACE TEMPORARY MACRO {name}{_BODIES[name]}"
