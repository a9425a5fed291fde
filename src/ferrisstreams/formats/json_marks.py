"""Numbers with the characters that they were written with: expressions over marked records (`duck.json_macros`)."""

from __future__ import annotations

from sqlglot import exp

from ferrisstreams.duck.json_macros import BEGIN, END, NUMBER
from ferrisstreams.formats.expressions import call, number, text

_SPACE = r"[ \t\r\n]*"


def marked(record: exp.Expr) -> exp.Expr:
    """The text of a record with its numbers marked."""
    return call("ferris_json_marked", record.copy())


def marked_members(record: exp.Expr) -> exp.Expr:
    """The same in a quarter of the time, without the numbers in arrays. Where a string holds what looks like a number,
    the result is no JSON: the mark ends the string, and nothing may follow it there."""
    escaped = call("ferris_json_plain", exp.cast(record.copy(), "VARCHAR"))
    pattern = f"(:{_SPACE})({NUMBER})({_SPACE}[,}}])"
    return call("regexp_replace", escaped, text(pattern), text(f'\\1"{BEGIN}\\2{END}"\\3'), text("g"))


def unmarked_number(raw: exp.Expr) -> exp.Expr:
    """A value of a marked record that stands alone."""
    length = exp.Sub(this=call("strlen", raw.copy()), expression=number(len(BEGIN) + len(END)))
    inner = call("substr", raw.copy(), number(len(BEGIN) + 1), length)
    has_mark = exp.If(this=call("starts_with", raw.copy(), text(BEGIN)), true=inner)
    return exp.Case(ifs=[has_mark], default=raw.copy())


def unmarked(raw: exp.Expr) -> exp.Expr:
    """A value of a marked record as it was written."""
    return call("ferris_json_unmarked", raw.copy())


def is_non_finite(raw: exp.Expr) -> exp.Expr:
    """Whether a value of a marked record is, or holds, NaN or Infinity."""
    return call("regexp_matches", raw.copy(), text(f"{BEGIN}-?[nNiI]"))
