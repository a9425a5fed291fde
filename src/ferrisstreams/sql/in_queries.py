"""`x IN (SELECT …)` in WHERE: the rows of a SEMI JOIN with the query, whose one column is equal to `x`."""

from __future__ import annotations

from sqlglot import exp

from ferrisstreams.sql.context import Context
from ferrisstreams.sql.resolve import place
from ferrisstreams.sql.syntax import span_of


def with_semi_joins(context: Context, node: exp.Select) -> exp.Select:
    """The SELECT with such conditions as joins, where they are parts of an AND of WHERE. Raises `SqlError`."""
    where = node.args.get("where")
    parts = list(where.this.flatten()) if where is not None and isinstance(where.this, exp.And) else []
    if where is not None and not parts:
        parts = [where.this]
    if not any(map(_is_in_query, parts)):
        return node
    made = node.copy()
    where = made.args["where"]
    parts = list(where.this.flatten()) if isinstance(where.this, exp.And) else [where.this]
    rest = []
    for part in parts:
        if _is_in_query(part):
            made.append("joins", _semi_join(context, part.unnest(), len(made.args.get("joins") or [])))
        else:
            rest.append(part)
    if rest:
        where.set("this", exp.and_(*rest, copy=False))
    else:
        made.set("where", None)
    return made


def _is_in_query(part: exp.Expr) -> bool:
    inner = part.unnest() if isinstance(part, exp.Paren) else part
    return isinstance(inner, exp.In) and isinstance(inner.args.get("query"), exp.Subquery | exp.Query)


def _semi_join(context: Context, condition: exp.Expr, number: int) -> exp.Join:
    query = condition.args["query"]
    inner = query.unnest() if isinstance(query, exp.Subquery) else query
    assert isinstance(inner, exp.Query)
    shown = inner.selects
    if len(shown) != 1 or shown[0].is_star:
        what = "every column" if len(shown) == 1 else f"{len(shown)} columns"
        hint = "select the one that is compared"
        raise context.error(shown[-1], f"the query of IN gives {what}", "E1102", hint)
    name, at = exp.to_identifier(f"in_query_{number + 1}"), span_of(condition) or context.statement
    own = exp.to_identifier("the query", quoted=True)
    meets = exp.EQ(this=condition.this, expression=exp.Column(this=own.copy(), table=name.copy()))
    for made in (name, own, meets, *meets.expression.find_all(exp.Identifier)):
        place(made, at)
    table = exp.Subquery(this=inner, alias=exp.TableAlias(this=name, columns=[own]))
    return exp.Join(this=table, kind="SEMI", on=meets)
