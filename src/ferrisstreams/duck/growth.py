"""Calls that make a value as long as a number says. The engine computes constants while it binds, whatever it costs:
`upper(repeat('x', 4000000000))` takes a quarter of a minute and gigabytes before a row is read."""

from __future__ import annotations

from sqlglot import exp

_GROWING = frozenset(
    {
        "array_resize", "bar", "bitstring", "generate_series", "list_resize", "lpad", "range", "repeat", "rpad",
    }
)  # fmt: skip

#: What is shorter costs nothing; of what is longer the engine says at once that it cannot.
_LONG = range(1_000_001, (1 << 32) + 1)


def grows(node: exp.Expr) -> bool:
    """Whether this is such a call, of a constant that may be long."""
    return bool(_lengths(node))


def with_short_constants(tree: exp.Expression) -> exp.Expression:
    """The tree with small numbers for lengths that are constants, to ask for its types alone."""
    if not any(grows(call) for call in tree.find_all(exp.Anonymous)):
        return tree
    short = tree.copy()
    for call in reversed(list(short.find_all(exp.Anonymous, bfs=False))):
        for length in _lengths(call):
            length.replace(exp.Literal.number(1))
    return short


def _lengths(node: exp.Expr) -> list[exp.Expr]:
    if not isinstance(node, exp.Anonymous) or node.name.lower() not in _GROWING:
        return []
    return [argument for argument in node.expressions if _may_be_long(argument)]


def _may_be_long(argument: exp.Expr) -> bool:
    """Whether this is a large number, or computed of numbers alone."""
    if isinstance(argument, exp.Literal):
        return not argument.is_string and argument.name.isdecimal() and int(argument.name[:20]) in _LONG
    leaves = [node for node in argument.walk() if isinstance(node, exp.Literal | exp.Column)]
    return bool(leaves) and all(isinstance(leaf, exp.Literal) and not leaf.is_string for leaf in leaves)
