"""Scalar expressions of plans: references to columns, conjunctions, substitution."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from sqlglot import exp
from sqlglot.errors import ParseError

#: In the meta of a cast that nobody wrote: text becomes a TIMESTAMP by way of an instant, which applies its offset.
BY_INSTANT = "by_instant"

#: In the meta of a comparison with the elements of a list, as the engine gets it: ANY, SOME or ALL.
QUANTIFIED = "quantified"

#: In the meta of a value with its maps sorted, or its texts read as times, and of the brackets around what was written.
SORTED, UNSORTED = "sorted", "unsorted"


#: In the meta of a value that is known without a row: what was written.
WRITTEN = "written"


def as_written(expression: exp.Expression) -> exp.Expression:
    """The expression without what nobody wrote, for messages and names."""
    tree = exp.Tuple(expressions=[expression.copy()])
    for known in [node for node in tree.walk() if node.meta_get(WRITTEN)]:
        known.replace(known.meta_get(WRITTEN).copy())
    while (sorted_ := next((node for node in tree.walk() if node.meta_get(SORTED)), None)) is not None:
        brackets = next(node for node in sorted_.walk() if node.meta_get(UNSORTED))
        sorted_.replace(brackets.this)
    while (node := next((node for node in tree.walk() if node.meta_get(QUANTIFIED)), None)) is not None:
        node.replace(written_comparison(node))
    for node in [node for node in tree.find_all(exp.Cast) if node.meta_get(BY_INSTANT)]:
        node.replace(node.this)
    for call in [node for node in tree.find_all(exp.Anonymous) if node.meta_get(BY_INSTANT)]:
        call.replace(call.expressions[1].this.expressions[0])
    written = tree.expressions[0]
    assert isinstance(written, exp.Expression)
    return written


def written_comparison(node: exp.Expr) -> exp.Expression:
    """What was written of a node that is `QUANTIFIED`, a copy."""
    answers = node.expressions[0].expressions[0]
    if isinstance(answers, exp.Array):
        (made,), left = answers.expressions, None
    else:
        values, body = answers.expressions
        made, left = body.this, values.expressions[0]
    listed, body = made.expressions
    written: exp.Expression = body.this.copy()
    if left is not None:
        written.set("this", left.copy())
    word = node.meta_get(QUANTIFIED)
    brackets = exp.Paren(this=listed.copy())
    quantified = exp.Any(this=brackets) if word != "ALL" else exp.All(this=brackets)
    written.set("expression", quantified)
    return written


def column(name: str) -> exp.Column:
    """The reference to an input column: unqualified and quoted."""
    return exp.Column(this=exp.Identifier(this=name, quoted=True))


def parsed_type(type_: str) -> exp.DataType:
    """The tree of a type in the engine's words. One that the parser does not know (`TUPLE(INTEGER)`), or takes for an
    expression (`STRUCT(v TUPLE(STRUCT(a INTEGER)))`), is kept word by word: the engine knows its own types."""
    return _parsed_type(type_).copy()


@lru_cache(maxsize=1024)
def _parsed_type(type_: str) -> exp.DataType:
    try:
        tree = exp.DataType.build(type_, dialect="duckdb")
    except ParseError:
        return _verbatim(type_)
    return tree if tree.find(exp.Struct) is None else _verbatim(type_)


def type_tree(type_: str) -> exp.DataType:
    """The tree of a type, to be printed for the engine again. The parser loses the quotes of `"NULL"`."""
    return _verbatim(type_) if '"NULL"' in type_ else parsed_type(type_)


def _verbatim(type_: str) -> exp.DataType:
    return exp.DataType(this=exp.DType.USERDEFINED, kind=type_)


def typed_as(expression: exp.Expr, type_: str) -> exp.Cast:
    """The expression cast to a type in the engine's words."""
    return exp.Cast(this=expression, to=type_tree(type_))


def column_name(expression: exp.Expression) -> str | None:
    """The column's name when the expression is nothing but a column."""
    return expression.name if isinstance(expression, exp.Column) else None


def columns_in(expression: exp.Expression) -> set[str]:
    """Names of all columns that the expression reads."""
    return {node.name for node in expression.find_all(exp.Column)}


def conjuncts(expression: exp.Expression) -> tuple[exp.Expression, ...]:
    """The operands of the top-level ANDs, from left to right."""
    found: list[exp.Expression] = []
    pending = [expression]
    while pending:
        node = pending.pop()
        if isinstance(node, exp.Paren):
            pending.append(node.this)
        elif isinstance(node, exp.And):
            pending.extend((node.expression, node.this))
        else:
            found.append(node)
    return tuple(found)


def substitute(expression: exp.Expression, definitions: Mapping[str, exp.Expression]) -> exp.Expression:
    """The expression with every column replaced by its definition, in parentheses where it needs them."""
    if isinstance(expression, exp.Column):
        return definitions[expression.name].copy()
    tree = expression.copy()
    for node in list(tree.find_all(exp.Column)):
        node.replace(grouped(definitions[node.name].copy()))
    return tree


def grouped(expression: exp.Expression) -> exp.Expression:
    """The expression such that an operator around it cannot tear it apart."""
    loose = isinstance(expression, exp.Binary | exp.Unary | exp.Between | exp.In | exp.Is) and not isinstance(
        expression, exp.Paren | exp.Dot
    )
    return exp.Paren(this=expression) if loose else expression
