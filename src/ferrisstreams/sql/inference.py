"""Types, asked of DuckDB: expressions are described over an empty table with the input's columns.

When DuckDB refuses, the smallest part of the expression that it refuses alone is what the error points at.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlglot import exp

from ferrisstreams.duck.engine import BindError, DataError
from ferrisstreams.errors import SqlError
from ferrisstreams.plan.expressions import QUANTIFIED, SORTED, WRITTEN, as_written, column, typed_as
from ferrisstreams.plan.nodes import WINDOW_END, WINDOW_START
from ferrisstreams.schema import Schema
from ferrisstreams.sql.calls import put_engine_names
from ferrisstreams.sql.context import Context, did_you_mean
from ferrisstreams.sql.source_text import lowered

_INPUT = "_input"


def describe(context: Context, expressions: Sequence[exp.Expression], schema: Schema) -> list[tuple[str, str]]:
    """Name (as DuckDB would call the column) and type of each expression. Aggregates are allowed."""
    if not expressions:
        return []
    try:
        return context.connection.types(typed_select(expressions, schema))
    except (BindError, DataError) as error:
        raise _explained(context, expressions, schema, error) from error


def type_of(context: Context, expression: exp.Expression, schema: Schema) -> str:
    return describe(context, [expression], schema)[0][1]


def column_names(
    context: Context, expressions: Sequence[exp.Expression], schema: Schema, keys: Sequence[exp.Expression]
) -> list[str]:
    """What DuckDB calls the columns of expressions without an alias. `keys` are those of GROUP BY."""
    if not expressions:
        return []
    select = typed_select(expressions, schema)
    bounds = [column(name) for name in (WINDOW_START, WINDOW_END) if schema.get(name) is not None]
    if keys:
        select.set("group", exp.Group(expressions=[key.copy() for key in (*keys, *bounds)]))
    try:
        names = [_QUOTED_NAME.sub(r"\1(", name) for name, _ in context.connection.types(select)]
        return [_name_as_written(tree) or name for tree, name in zip(expressions, names, strict=True)]
    except (BindError, DataError) as error:
        raise _explained(context, expressions, schema, error) from error


def _name_as_written(expression: exp.Expression) -> str | None:
    """The text of an expression whose form for the engine is another one; None for all others."""
    if not any(
        node.meta_get(QUANTIFIED) or node.meta_get(SORTED) or node.meta_get(WRITTEN) for node in expression.walk()
    ):
        return None
    tree = as_written(expression)
    for name in tree.find_all(exp.Identifier):
        name.set("quoted", not re.fullmatch("[a-z_][a-z0-9_]*", name.name))
    return tree.sql("duckdb", normalize_functions=False)


_QUOTED_NAME = re.compile(r'"(\w+)"\(')


def typed_select(expressions: Sequence[exp.Expression], schema: Schema) -> exp.Select:
    """The expressions over an empty table with these columns; aggregates are allowed."""
    typed = [exp.alias_(typed_as(exp.null(), item.type), item.name, quoted=True) for item in schema]
    columns = exp.Select(expressions=typed or [exp.alias_(exp.null(), "_nothing", quoted=True)])
    table = columns.subquery(_INPUT, copy=False)
    select = exp.Select(expressions=[expression.copy() for expression in expressions]).from_(table, copy=False)
    put_engine_names(select)
    select.set("group", exp.Group(all=True))
    return select


def _explained(
    context: Context, expressions: Sequence[exp.Expression], schema: Schema, error: BindError | DataError
) -> SqlError:
    unnamed = _NO_TYPE.search(str(error))
    if unnamed is not None and any(unnamed[1] in item.type for item in schema):
        # Nobody wrote this type: results of an aggregate, or of a subquery, have it.
        message = f"a value of type {unnamed[1]} cannot be kept: the engine has no such type outside of an expression"
        return context.error(expressions[0], message, "E1201", "cast it to a type that can be named")
    at, cause = _culprit(context, expressions, schema, error)
    return explain_bind_error(context, at, cause)


def explain_bind_error(
    context: Context, at: exp.Expression, error: BindError | DataError, otherwise: str | None = None
) -> SqlError:
    """DuckDB's refusal as an error at a place of the text; `otherwise` is the hint where the refusal gives none."""
    text = error.message if isinstance(error, BindError) else str(error)
    message, code, hint = reword(text)
    return context.error(at, message, code, hint or otherwise)


def _culprit(
    context: Context, expressions: Sequence[exp.Expression], schema: Schema, error: BindError | DataError
) -> tuple[exp.Expression, BindError | DataError]:
    """The smallest part that fails alone, and its error."""
    for expression in expressions:
        failure = _failure(context, expression, schema)
        if failure is None:
            continue
        parts = _parts(expression)
        for part in reversed(parts) if len(parts) <= _PARTS_MAX else ():
            assert isinstance(part, exp.Expression)
            smaller = _failure(context, part, schema)
            # What is not an expression by itself (`'a': 1` of a struct) fails in another way than the whole.
            if smaller is not None and "syntax error" not in str(smaller):
                return _wrong_constant(context, part, schema, smaller), smaller
        return expression, failure
    return expressions[0], error


def _wrong_constant(
    context: Context, part: exp.Expression, schema: Schema, error: BindError | DataError
) -> exp.Expression:
    """The text without which the part does not fail: a format, a pattern, a name of a unit. Else the part."""
    if _NO_MATCH.search(str(error)) is not None:
        return part
    holder = exp.Tuple(expressions=[part.copy()])
    written = [node for node in part.iter_expressions() if isinstance(node, exp.Literal) and node.is_string]
    tree = holder.expressions[0]
    made = [node for node in tree.iter_expressions() if isinstance(node, exp.Literal) and node.is_string]
    for literal, copy in zip(written, made, strict=True):
        null = exp.null()
        copy.replace(null)
        if _failure(context, tree, schema) is None:
            return literal
        null.replace(copy)
    return part


#: Trying a part costs about 1.5 ms; a very large expression is reported as a whole.
_PARTS_MAX = 200


def _parts(expression: exp.Expression) -> list[exp.Expr]:
    """The parts that mean something alone: not those inside a lambda, whose names are bound by it."""
    nodes = expression.walk(prune=lambda node: isinstance(node, exp.Lambda | exp.Comprehension))
    plain = (exp.Column, exp.Literal, exp.Lambda, exp.Comprehension)
    return [node for node in nodes if isinstance(node, exp.Condition) and not isinstance(node, plain)]


def _failure(context: Context, expression: exp.Expression, schema: Schema) -> BindError | DataError | None:
    try:
        context.connection.types(typed_select([expression], schema))
    except (BindError, DataError) as error:
        return error
    return None


_NO_MATCH = re.compile(r"No function matches the given name and argument types '(.*?)'\.", re.DOTALL)
_NO_FUNCTION = re.compile(r"Function with name \"?(.*?)\"? does not exist")
_NO_TYPE = re.compile(r"Type with name (.*?) does not exist")
_NO_KEY = re.compile(r'Could not find key "(.*?)" in struct(?:.*?Candidate Entries: (.*))?', re.DOTALL)
_KIND = re.compile(r"^(?:\w+: )?(?:[A-Z][A-Za-z ]* Error: )")


def reword(text: str) -> tuple[str, str, str | None]:
    """DuckDB's message as ours: message, code, hint."""
    text = text.replace("INTEGER_LITERAL", "INTEGER").replace("STRING_LITERAL", "VARCHAR")
    if (found := _NO_MATCH.search(text)) is not None:
        name, _, kinds = _unquoted(found[1]).partition("(")
        if name == "struct_extract":
            return f"{kinds.split(', VARCHAR)')[0]} has no fields", "E1102", None
        if not name.isidentifier():
            return f"{name} does not take ({kinds}", "E1102", "cast the operands to types that fit"
        return f"{name} does not take ({kinds}", "E1102", _candidates(text)
    if "Max expression depth" in text:
        return "this expression is nested too deeply", "E1001", "split it with a subquery or a view"
    if (found := _NO_KEY.search(text)) is not None:
        fields = re.findall(r'"(.*?)"', found[2] or "")
        return f"there is no field {found[1]} in this struct", "E1101", did_you_mean(found[1], fields)
    if (found := _NO_FUNCTION.search(text)) is not None:
        return f"there is no function {found[1]}", "E1101", None
    if (found := _NO_TYPE.search(text)) is not None:
        near = re.search(r'Did you mean "(.*?)"', text)
        return (
            f"there is no type {found[1]}",
            "E1102",
            f"did you mean {near[1].removeprefix('main.')}?" if near else None,
        )
    return lowered(_KIND.sub("", text.split("\n")[0]).strip()), "E1102", None


def _unquoted(call: str) -> str:
    return re.sub(r'^"(.*?)"\(', r"\1(", call)


def _candidates(text: str) -> str | None:
    """The forms of the function that there are, at most three."""
    lines = [line.strip() for line in text.partition("Candidate functions:")[2].splitlines()]
    forms = [line.replace(", /)", ")").replace('"', "") for line in lines if " -> " in line][:3]
    return f"it takes {' or '.join(forms)}" if forms else "cast the arguments"
