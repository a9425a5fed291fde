"""Calls in user SQL: their names, whether they may be made, and whether they aggregate."""

from __future__ import annotations

from sqlglot import exp

from ferrisstreams.duck.engine import BindError, DataError
from ferrisstreams.sql.context import Context
from ferrisstreams.sql.functions import APPROXIMATE, BY_OFFSET, Kind
from ferrisstreams.sql.refusals import OVER_HINTS

#: Calls that the parser turns into classes of their own although their name matters here.
_NAMES: dict[type[exp.Expr], str] = {
    exp.Count: "count",
    exp.Sum: "sum",
    exp.Avg: "avg",
    exp.CurrentTimestamp: "current_timestamp",
    exp.CurrentDate: "current_date",
    exp.CurrentTime: "current_time",
    exp.Localtime: "localtime",
    exp.Localtimestamp: "localtimestamp",
    exp.CurrentUser: "current_user",
    exp.CurrentCatalog: "current_catalog",
    exp.CurrentSchema: "current_schema",
    exp.SessionUser: "session_user",
}

_SEALED = "SQL sees the rows of its streams and nothing else: no files, no network, no settings"
_UNNEST = "use list functions such as list_transform and list_sum on the list itself"


def call_name(node: exp.Expr) -> str | None:
    """The function's name in lower case; None for operators and special forms."""
    if isinstance(node, exp.Anonymous):
        return str(node.name).lower()
    return _NAMES.get(type(node))


def put_engine_names(tree: exp.Expression) -> None:
    """Give the calls of aggregates of our own the names of those of the engine that have the same types."""
    for call in tree.find_all(exp.Anonymous):
        call.set("this", BY_OFFSET.get(str(call.name).lower(), call.this))


def is_aggregate(context: Context, node: exp.Expr) -> bool:
    """True for an aggregate call itself, without its FILTER."""
    name = call_name(node)
    return name is not None and context.functions.kind(name) is Kind.AGGREGATE


def gives_null(context: Context, node: exp.Expr) -> bool:
    """Whether a constant is NULL; one that fails is said elsewhere."""
    if is_null(node) or node.find(exp.Column) is not None:
        return is_null(node)
    try:
        return bool(context.connection.rows(exp.select(node.copy().is_(exp.null())))[0][0])
    except (BindError, DataError):
        return False


def is_null(node: exp.Expr) -> bool:
    """Whether this is written as NULL, of any type."""
    while isinstance(node, exp.Paren | exp.Cast):
        node = node.this
    return isinstance(node, exp.Null)


def has_aggregate(context: Context, node: exp.Expr) -> bool:
    return any(is_aggregate(context, part) for part in node.walk())


#: What is written for a function that gives a TYPE, which no row can hold.
_INSTEAD = {
    "alias": "write the name as a text",
    "get_type": "typeof(…) gives the name of a type",
    "make_type": "write the type's name in a CAST",
}

_RANGE = "the engine asks a table for it, which a stream does not have: write bitstring_agg(x, least, greatest)"


_BINNED = ("histogram", "histogram_exact")


def _has_range(context: Context, bounds: list[exp.Expr]) -> bool:
    plain = [bound.this if isinstance(bound, exp.Order) else bound for bound in bounds]
    return bool(plain) and not any(each.find(exp.Column) is not None or gives_null(context, each) for each in plain)


def check_call(context: Context, node: exp.Expr) -> None:
    """Refuse what may not be called. Raises `SqlError`."""
    name = call_name(node)
    if name is None or name == "struct_extract" or isinstance(node, exp.Kwarg | exp.PropertyEQ):
        return
    if name == "bitstring_agg" and not _has_range(context, node.expressions[1:]):
        raise context.error(node, "bitstring_agg needs the range of its values", "E1201", _RANGE)
    if name in _BINNED and len(node.expressions) == 2 and is_null(node.expressions[1]):
        raise context.error(
            node.expressions[1],
            f"the bins of {name} cannot be NULL",
            "E1102",
            "it fails whatever the row: name the bins, [0, 10, 100]",
        )
    if name in APPROXIMATE:
        context.note_outside_law(f"{name}()")
    if name == "columns":
        raise context.error(node, "COLUMNS(…) is not supported", "E1201", "name the columns")
    match context.functions.kind(name):
        case None if not name.isidentifier():
            what = f"the operator {name} as a function is not supported"
            raise context.error(node, what, "E1201", "write it beside its operands, without quotes: a + b")
        case None:
            near = context.functions.near(name)
            hint = f"did you mean {near}?" if near else "functions are those of DuckDB"
            raise context.error(node, f"there is no function {name}", "E1101", hint)
        case Kind.REFUSED:
            raise context.error(node, f"{name} is not callable", "E1202", _INSTEAD.get(name, _SEALED))
        case Kind.SET:
            raise context.error(node, f"{name.upper()} is not supported", "E1201", _UNNEST)
        case Kind.WINDOW:
            raise context.error(node, f"{name} needs OVER, which is not supported", "E1201", OVER_HINTS.get(name))
        case _:
            return


def rewrite_within_group(context: Context, node: exp.WithinGroup) -> exp.Expression:
    """`mode() WITHIN GROUP (ORDER BY x)` as `mode(x ORDER BY x)`, and the percentiles as quantiles."""
    call, order = node.this, node.expression
    name = call_name(call)
    terms = list(order.expressions) if isinstance(order, exp.Order) else []
    forms = {"mode": ("MODE", 0), "percentile_cont": ("QUANTILE_CONT", 1), "percentile_disc": ("QUANTILE_DISC", 1)}
    if name not in forms or len(terms) != 1 or len(call.expressions) != forms[name][1]:
        raise context.error(
            node,
            "this form of WITHIN GROUP is not supported",
            "E1201",
            "write mode(x), quantile_cont(x, 0.5) or quantile_disc(x, 0.5), or ORDER BY inside the aggregate",
        )
    term = terms[0]
    if isinstance(term, exp.Ordered):
        if term.args.get("desc"):
            raise context.error(
                node, "WITHIN GROUP with DESC is not supported", "E1201", "write 1 - p for the fraction p"
            )
        term = term.this
    value = term.copy()
    if name == "mode":  # Among values as frequent as one another, it is the first.
        value = exp.Order(this=value, expressions=[exp.Ordered(this=term.copy())])
    plain = exp.Anonymous(this=forms[name][0], expressions=[value, *[item.copy() for item in call.expressions]])
    plain.update_positions(call)
    return plain
