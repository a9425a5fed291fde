"""Calls that make a value as long as a number says. The engine computes constants while it binds, whatever it costs:
`upper(repeat('x', 4000000000))` takes a quarter of a minute and gigabytes before a row is read."""

from __future__ import annotations

from sqlglot import exp

#: Such calls, and which of their arguments is the length; None: any.
_GROWING = {
    "array_resize": 1, "bar": 3, "bitstring": 1, "generate_series": None, "list_resize": 1, "lpad": 1, "range": None,
    "repeat": 1, "rpad": 1,
}  # fmt: skip

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
    place = _GROWING[node.name.lower()]
    arguments = node.expressions if place is None else node.expressions[place : place + 1]
    # A range of times has no numbers; one that begins at a column may end at one.
    of_numbers = all(isinstance(argument, exp.Literal) or _is_computed(argument) for argument in arguments)
    return [
        argument
        for argument in arguments
        if _may_be_long(argument) and (of_numbers or isinstance(argument, exp.Literal))
    ]


def _may_be_long(argument: exp.Expr) -> bool:
    """Whether this is a large number, or computed of numbers alone."""
    if isinstance(argument, exp.Literal):
        return not argument.is_string and argument.name.isdecimal() and int(argument.name[:20]) in _LONG
    return _is_computed(argument)


def _is_computed(argument: exp.Expr) -> bool:
    """Whether it is computed of numbers alone."""
    leaves = [node for node in argument.walk() if isinstance(node, exp.Literal | exp.Column)]
    return bool(leaves) and all(isinstance(leaf, exp.Literal) and not leaf.is_string for leaf in leaves)
