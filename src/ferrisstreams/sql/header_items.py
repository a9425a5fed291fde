"""`SET_HEADER('k', value)`, `REMOVE_HEADER('k')`: select items that make no column but act on the output's message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from ferrisstreams.errors import SqlError
from ferrisstreams.sql.context import Context

#: Of each call, in lower case: its name, how many arguments it takes, and how it is written.
_USAGE = {
    "set_header": ("SET_HEADER", 2, "write SET_HEADER('name', value)"),
    "remove_header": ("REMOVE_HEADER", 1, "write REMOVE_HEADER('name')"),
}


@dataclass(frozen=True, slots=True)
class HeaderItem:
    """A header and what it is set to, as written; `value` None: it is removed. `column` is where the value is kept."""

    name: str
    value: exp.Expr | None
    column: str
    node: exp.Expr


def is_header_item(node: exp.Expr) -> bool:
    """True for a call of either, wherever it stands."""
    return isinstance(node, exp.Anonymous) and node.name.lower() in _USAGE


def read_header_item(context: Context, node: exp.Expr, before: Sequence[HeaderItem]) -> HeaderItem:
    """The item that a call is, behind those `before` it. Raises `SqlError`."""
    called, count, usage = _USAGE[node.name.lower()]
    if len(node.expressions) != count:
        raise context.error(node, f"{called} takes {'two arguments' if count > 1 else 'one argument'}", "E1102", usage)
    written = node.expressions[0]
    if not (isinstance(written, exp.Literal) and written.is_string):
        raise context.error(
            written, f"the name of a header is a text in quotes, not {written.sql('duckdb')}", "E1102", usage
        )
    name = str(written.name)
    if not name or "\0" in name:
        raise context.error(written, "a header needs a name, which holds no NUL", "E1102", usage)
    if any(item.name == name for item in before):
        raise context.error(node, f"the header {name} is set or removed twice", "E1103", "keep one of them")
    value = node.expressions[1] if count > 1 else None
    return HeaderItem(name, value, f"_header{len(before)}", node)


def misplaced(context: Context, node: exp.Expr) -> SqlError:
    """The error for a call that is not a select item of a job."""
    return context.error(
        node,
        f"{_USAGE[node.name.lower()][0]} is not a value: it stands alone in the select list of a job",
        "E1102",
        "write it as an item of its own, without an alias, in the outermost SELECT",
    )
