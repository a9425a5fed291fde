"""Functions under the names that they have elsewhere, as DuckDB's. In one table: name, arguments, what is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from sqlglot import exp

from ferrisstreams.sql.context import Context
from ferrisstreams.sql.dialect import Ferris, FerrisParser


@dataclass(frozen=True, slots=True)
class FunctionAlias:
    """`call` is DuckDB's expression over the arguments `$1`, `$2` …; `arguments` says what they are."""

    arguments: tuple[str, ...]
    call: str


#: Lower-case name -> what it is here. A name with another meaning in DuckDB is not in it.
FUNCTION_ALIASES: Mapping[str, FunctionAlias] = {
    "collect_list": FunctionAlias(("value",), "LIST($1)"),
    "collect_set": FunctionAlias(("value",), "LIST(DISTINCT $1)"),
    "count_distinct": FunctionAlias(("value",), "COUNT(DISTINCT $1)"),
    "delta": FunctionAlias(("value",), "MAX($1) - MIN($1)"),
    "earliest_by_offset": FunctionAlias(("value",), "EARLIEST_BY_OFFSET($1) FILTER (WHERE NOT $1 IS NULL)"),
    "extractjsonfield": FunctionAlias(("json", "path"), "JSON_EXTRACT_STRING($1, $2)"),
    "first_value": FunctionAlias(("value",), "FIRST($1)"),
    "from_unixtime": FunctionAlias(("seconds",), "MAKE_TIMESTAMP(CAST($1 * 1000000 AS BIGINT))"),
    "last_value": FunctionAlias(("value",), "LAST($1)"),
    "latest_by_offset": FunctionAlias(("value",), "LATEST_BY_OFFSET($1) FILTER (WHERE NOT $1 IS NULL)"),
    "regexp": FunctionAlias(("text", "pattern"), "REGEXP_MATCHES($1, $2)"),
    "split_index": FunctionAlias(("text", "delimiter", "index from 0"), "SPLIT_PART($1, $2, $3 + 1)"),
    "topk": FunctionAlias(("value", "count"), "MAX($1, $2)"),
    "unix_timestamp": FunctionAlias(("timestamp",), "CAST(EPOCH($1) AS BIGINT)"),
}


def resolve_aliases(context: Context, query: exp.Expression) -> exp.Expression:
    """The query with calls of the table replaced by what they are. Raises `SqlError` for wrong arguments."""
    holder = exp.Tuple(expressions=[query.copy()])
    for call in reversed(list(holder.find_all(exp.Anonymous, bfs=False))):
        alias = FUNCTION_ALIASES.get(str(call.name).lower())
        if alias is not None and not isinstance(call.parent, exp.Window):
            _replace(call, _called(context, alias, call))
    result = holder.expressions[0]
    assert isinstance(result, exp.Expression)
    result.pop()
    return result


def _replace(call: exp.Anonymous, made: exp.Expression) -> None:
    """Put what a call is in its place. A FILTER behind it goes to each aggregate that it is made of."""
    outer = call.parent
    if not isinstance(outer, exp.Filter) or isinstance(made, exp.Func):
        call.replace(made)
        return
    condition = outer.expression.this
    for aggregate in [node for node in made.find_all(exp.Anonymous) if str(node.name).lower() in _AGGREGATES]:
        inner = aggregate.parent
        if isinstance(inner, exp.Filter):
            inner.set("expression", exp.Where(this=exp.and_(inner.expression.this, condition)))
        else:
            aggregate.replace(exp.Filter(this=aggregate.copy(), expression=exp.Where(this=condition.copy())))
    outer.replace(made)


#: The aggregates of the table that stand inside an expression.
_AGGREGATES = ("earliest_by_offset", "latest_by_offset", "max", "min")


def _called(context: Context, alias: FunctionAlias, call: exp.Anonymous) -> exp.Expression:
    name, count = str(call.name), len(alias.arguments)
    if len(call.expressions) != count:
        raise context.error(
            call,
            f"{name} takes {count} argument{'s' if count > 1 else ''}",
            "E1102",
            _SEVERAL.get(name.lower(), "") * (len(call.expressions) == 2)
            + f"write {name}({', '.join(alias.arguments)})",
        )
    arguments, distinct, orders = _taken_apart(call)
    holder = exp.Tuple(expressions=[_parsed(alias.call).copy()])
    for column in list(holder.find_all(exp.Column)):
        argument = arguments[int(column.name.removeprefix(_ARGUMENT)) - 1].copy()
        column.replace(argument if isinstance(argument, exp.Column | exp.Literal) else exp.Paren(this=argument))
    if distinct or orders:
        _modify(context, call, holder.expressions[0], distinct, orders)
    for node in holder.find_all(exp.Func):
        if node.meta_get("start") is None:
            node.meta["start"], node.meta["end"] = call.meta_get("start"), call.meta_get("end")
    made = holder.expressions[0]
    assert isinstance(made, exp.Expression)
    made.pop()
    return exp.Paren(this=made) if isinstance(made, exp.Binary) else made


#: For a second argument, which elsewhere says how many values are meant.
_SEVERAL = {
    "earliest_by_offset": "for the values of the n earliest rows write arg_min(value, ts, n), for one ",
    "latest_by_offset": "for the values of the n latest rows write arg_max(value, ts, n), for one ",
}

_ARGUMENT = "_argument_"


def _taken_apart(call: exp.Anonymous) -> tuple[list[exp.Expr], bool, list[exp.Expr]]:
    """The arguments of a call without DISTINCT and ORDER BY, whether it has DISTINCT, and what it is ordered by."""
    arguments: list[exp.Expr] = []
    distinct, orders = False, []
    for argument in call.expressions:
        if isinstance(argument, exp.Order):
            orders, argument = list(argument.expressions), argument.this
        if isinstance(argument, exp.Distinct):
            distinct, argument = True, argument.expressions[0]
        arguments.append(argument)
    return arguments, distinct, orders


def _modify(context: Context, call: exp.Anonymous, made: exp.Expr, distinct: bool, orders: list[exp.Expr]) -> None:
    """Hand DISTINCT and ORDER BY on to the aggregate that a call is. Raises `SqlError` where it is not one, or not that
    alone."""
    if not isinstance(made, exp.Anonymous) or str(made.name).upper() not in _PLAIN_AGGREGATES:
        what = "ORDER BY" if orders else "DISTINCT"
        hint = "order or deduplicate in an aggregate such as last(x ORDER BY y) or list(DISTINCT x)"
        raise context.error(call, f"{call.name} does not take {what}", "E1102", hint)
    first = made.expressions[0]
    if distinct and not isinstance(first, exp.Distinct):
        made.expressions[0].replace(exp.Distinct(expressions=[first.copy()]))
    if orders:
        last = made.expressions[-1]
        last.replace(exp.Order(this=last.copy(), expressions=[order.copy() for order in orders]))


#: What calls of the table are that are an aggregate and nothing else.
_PLAIN_AGGREGATES = ("FIRST", "LAST", "LIST", "MAX")


@lru_cache
def _parsed(call: str) -> exp.Expression:
    """The expression, parsed as queries are; its places in its own text are of no use."""
    text = f"SELECT {call.replace('$', _ARGUMENT)}"
    dialect = Ferris()
    parser = cast(FerrisParser, dialect.parser())
    tree = parser.parse_one_statement(dialect.tokenize(text), text)
    for node in tree.walk():
        node.meta.clear()
    found = tree.args["query"].expressions[0]
    assert isinstance(found, exp.Expression)
    return found
