"""Numbers with the characters that they were written with.

The engine's JSON parser makes a double of a number with a fraction or an exponent, and its writer another text of that.
So such numbers are turned into strings before it sees the record: `1.10` becomes `"␡n1.10␡e"`, with the control
character DEL as the mark. A mark that the record has itself becomes `␡s`. What the parser gives back is a text from
which the marks are taken again.
"""

from __future__ import annotations

from sqlglot import exp

from ferrisstreams.formats.expressions import call, number, text

_MARK = "\x7f"
_BEGIN, _END, _ITSELF = f"{_MARK}n", f"{_MARK}e", f"{_MARK}s"
_GROUP_BEGIN, _GROUP_END = f"{_MARK}0", f"{_MARK}1"

#: A number that is not whole as it stands, or one of the numbers that are none (`NaN`, `-Infinity`).
_NUMBER = r"-?(?:[0-9]+[.eE][0-9.eE+-]*|[nN][aA][nN]|[iI][nN][fF][a-zA-Z]*)"
_STRING = r'"(?:[^"\\]|\\.)*"'
_SPACE = r"[ \t\r\n]*"


def marked(record: exp.Expr) -> exp.Expr:
    """The text of a record with its numbers marked."""
    # Strings are matched too, to be passed over: behind them two marks stand with nothing between.
    grouped = _replaced(_escaped(record), f"({_STRING})|({_NUMBER})", f"\\1{_GROUP_BEGIN}\\2{_GROUP_END}")
    plain = call("replace", grouped, text(_GROUP_BEGIN + _GROUP_END), text(""))
    begun = call("replace", plain, text(_GROUP_BEGIN), text(f'"{_BEGIN}'))
    return call("replace", begun, text(_GROUP_END), text(f'{_END}"'))


def marked_members(record: exp.Expr) -> exp.Expr:
    """The same in a quarter of the time, without the numbers in arrays. Where a string holds what looks like a number,
    the result is no JSON: the mark ends the string, and nothing may follow it there."""
    return _replaced(_escaped(record), f"(:{_SPACE})({_NUMBER})({_SPACE}[,}}])", f'\\1"{_BEGIN}\\2{_END}"\\3')


def unmarked_number(raw: exp.Expr) -> exp.Expr:
    """A value of a marked record that stands alone."""
    length = exp.Sub(this=call("strlen", raw.copy()), expression=number(len(_BEGIN) + len(_END)))
    inner = call("substr", raw.copy(), number(len(_BEGIN) + 1), length)
    has_mark = exp.If(this=call("starts_with", raw.copy(), text(_BEGIN)), true=inner)
    return exp.Case(ifs=[has_mark], default=raw.copy())


def unmarked(raw: exp.Expr) -> exp.Expr:
    """A value of a marked record as it was written."""
    result = raw.copy()
    for mark, plain in ((f'"{_BEGIN}', ""), (f'{_END}"', ""), (_BEGIN, ""), (_END, ""), (_ITSELF, _MARK)):
        result = call("replace", result, text(mark), text(plain))
    has_mark = exp.If(this=call("contains", raw.copy(), text(_MARK)), true=result)
    return exp.Case(ifs=[has_mark], default=exp.cast(raw.copy(), "VARCHAR"))


def is_non_finite(raw: exp.Expr) -> exp.Expr:
    """Whether a value of a marked record is, or holds, NaN or Infinity."""
    return call("regexp_matches", raw.copy(), text(f"{_BEGIN}-?[nNiI]"))


def _escaped(record: exp.Expr) -> exp.Expr:
    return call("replace", exp.cast(record.copy(), "VARCHAR"), text(_MARK), text(_ITSELF))


def _replaced(value: exp.Expr, pattern: str, by: str) -> exp.Expr:
    return call("regexp_replace", value.copy(), text(pattern), text(by), text("g"))
