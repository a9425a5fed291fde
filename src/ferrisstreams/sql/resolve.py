"""Names inside an expression: columns, aliases, struct fields, functions. The result is an expression of the plan."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlglot import exp

from ferrisstreams.errors import SqlError
from ferrisstreams.plan.expressions import WRITTEN, column, grouped
from ferrisstreams.plan.nodes import WINDOW_END, WINDOW_START
from ferrisstreams.plan.rewrites import VOLATILE, VOLATILE_TYPE
from ferrisstreams.sql.calls import call_name, check_call, has_aggregate, rewrite_within_group
from ferrisstreams.sql.context import Context, did_you_mean, nearest
from ferrisstreams.sql.dialect import FerrisParser
from ferrisstreams.sql.header_items import is_header_item, misplaced
from ferrisstreams.sql.inference import type_of
from ferrisstreams.sql.intervals import read_intervals
from ferrisstreams.sql.json_digits import keep_digits
from ferrisstreams.sql.lambdas import Region, regions, variables_of
from ferrisstreams.sql.maps import compare_by_entries
from ferrisstreams.sql.offsets import apply_offsets
from ferrisstreams.sql.quantified import compare_elements
from ferrisstreams.sql.refusals import FOREIGN_FUNCTIONS, refused_clause, refused_node
from ferrisstreams.sql.reserved import quote_hint
from ferrisstreams.sql.scope import EVENT_TIME, Scope
from ferrisstreams.sql.source_text import Span
from ferrisstreams.sql.statements import Name, name_of
from ferrisstreams.sql.syntax import StreamWindow, WindowBound, span_of
from ferrisstreams.sql.uncomputed import leave_uncomputed
from ferrisstreams.sql.windows import read_bound

#: In the meta of a column that is the window's start or end, and not one of the input.
EDGE = "window_edge"

_EDGES = {
    "window_start": WINDOW_START, "_window_start": WINDOW_START, "windowstart": WINDOW_START,
    "window_end": WINDOW_END, "_window_end": WINDOW_END, "windowend": WINDOW_END,
}  # fmt: skip

_SYSTEM_COLUMNS = frozenset({"_topic", "_partition", "_offset", "_key", "_timestamp", "_headers", "rowtime"})

_HEADERS = "_headers"
_FIXED_ARRAY = re.compile(r"\[\d+\]")


def resolve(context: Context, scope: Scope, node: exp.Expr) -> exp.Expression:
    """The expression with every name resolved: columns unqualified and quoted, struct fields as STRUCT_EXTRACT.

    Raises `SqlError` for names that are not known and for what is not supported.
    """
    holder = exp.Tuple(expressions=[node.copy()])
    _refuse(context, holder)
    _refuse_spellings(context, scope, holder)
    _name_comprehensions(holder)
    _extract_fields(context, holder)
    for bound in list(holder.find_all(WindowBound)):
        bound.replace(_edge(read_bound(context, bound, scope.window), bound))
    for found in list(holder.find_all(exp.Column)):
        if not found.meta_get(EDGE):
            found.replace(_column(context, scope, found))
    for ordered in list(holder.find_all(exp.WithinGroup)):
        ordered.replace(rewrite_within_group(context, ordered))
    for named in list(holder.find_all(exp.Anonymous)):
        if is_header_item(named):
            raise misplaced(context, named)
        if named.name.lower() in HEADER_CALLS:
            named.replace(_header_call(context, scope, named))
    read_intervals(context, scope.described, holder)
    compare_elements(holder)
    for call in list(holder.find_all(exp.Func)):
        _refuse_hidden_column(context, scope, call)
        check_call(context, call)
    for region in regions(context, scope.described, holder):
        _name_types(context, region)
        leave_uncomputed(context, region)
        _cast_conditions(context, region)
        _refuse_arrays_in_rows(context, region)
        apply_offsets(context, region)
        keep_digits(context, region)
        compare_by_entries(context, region)
    _mark_volatile(context, scope, holder)
    result = holder.expressions[0]
    assert isinstance(result, exp.Expression)
    result.pop()
    return result


def _refuse_hidden_column(context: Context, scope: Scope, call: exp.Func) -> None:
    """`current_date` without brackets is today, also where there is a column of this name."""
    if type(call) not in FerrisParser.NO_PAREN_FUNCTIONS.values() or call.this is not None:
        return
    name = call.sql_name().lower()
    column_ = next((item.name for side in scope.sides for item in side.schema if item.name.lower() == name), None)
    if column_ is not None:
        raise context.error(
            call, f"{name} is a value of SQL, and there is a column {column_}", "E1001", quote_hint(column_)
        )


def _cast_conditions(context: Context, region: Region) -> None:
    """Cast the conditions of FILTER to BOOLEAN where a row can fail: the engine's own cast would fail the aggregate."""
    for node in [node for node in region.walk() if isinstance(node, exp.Filter)]:
        condition = node.expression.this
        if type_of(context, condition, region.schema) not in ("BOOLEAN", '"NULL"'):
            condition.replace(exp.Cast(this=condition.copy(), to=exp.DataType(this=exp.DType.BOOLEAN)))


def _name_types(context: Context, region: Region) -> None:
    """`typeof` of values that need no aggregate is a text, and computes nothing."""
    for call in [node for node in region.walk() if call_name(node) == "typeof" and len(node.expressions) == 1]:
        value = call.expressions[0]
        if not has_aggregate(context, value):
            named = exp.Literal.string(type_of(context, value, region.schema))
            named.update_positions(call)
            named.meta[WRITTEN] = call.copy()
            call.replace(named)


def _refuse_arrays_in_rows(context: Context, region: Region) -> None:
    """The engine crashes where it groups, sorts or compares rows without names that hold arrays of a fixed length."""
    for node in region.walk():
        is_row = isinstance(node, exp.Tuple) or call_name(node) == "row"
        for part in node.iter_expressions() if is_row else ():
            if isinstance(part, exp.Expression) and _FIXED_ARRAY.search(type_of(context, part, region.schema)):
                what = "an array of a fixed length in a row without names is not supported"
                raise context.error(
                    part, what, "E1201", "name the fields ({'a': x, 'b': y}), or cast the array to a list"
                )


def refuse_clauses(context: Context, node: exp.Expr, allowed: frozenset[str]) -> None:
    """Refuse, by name, whatever a query's node holds besides the allowed arguments."""
    refused = refused_clause(node, allowed)
    if refused is not None:
        what, hint, at = refused
        raise context.error(at, f"{what} is not supported", "E1201", hint)


def _refuse(context: Context, holder: exp.Expression) -> None:
    for node in holder.walk():
        if isinstance(node, StreamWindow):
            raise context.error(
                node,
                f"{node.this} stands outside GROUP BY",
                "E1102",
                "put the window into GROUP BY, and select window_start",
            )
        if isinstance(node, exp.Star) and not isinstance(node.parent, exp.Count):
            raise context.error(node, "* stands inside an expression", "E1102", "name the column, or write count(*)")
        refused = refused_node(node)
        if refused is not None:
            what, hint = refused
            raise context.error(node, f"{what} is not supported", "E1201", hint)


def _refuse_spellings(context: Context, scope: Scope, holder: exp.Expression) -> None:
    """Refuse what other systems write in this way, and say what is written here, before its parts are taken for
    columns."""
    for node in holder.walk():
        match node:
            case exp.Literal() if not node.is_string and _loses_digits(node.name):
                hint = "write it with at most 38 digits and without an exponent, or round it to 17 digits"
                raise context.error(node, f"{node.name} has more digits than a DOUBLE holds", "E1102", hint)
            case exp.Anonymous() if node.name.lower() in FOREIGN_FUNCTIONS:
                hint = FOREIGN_FUNCTIONS[node.name.lower()]
                raise context.error(node, f"there is no function {node.name}", "E1101", hint)
            case exp.Kwarg() if any(part.name == node.name for part in node.expression.find_all(exp.Column)):
                name, body = node.name, node.expression.sql("duckdb")
                raise context.error(node, "=> does not make a lambda", "E1001", f"write lambda {name}: {body}")
            case exp.JSONExtract() | exp.JSONExtractScalar() if _is_unknown(scope, node.expression):
                value, key = node.this.sql("duckdb"), node.expression.name
                raise context.error(
                    node.expression,
                    f"there is no column {key}",
                    "E1101",
                    f"a struct's field stands behind a dot: {value}.{key}; a key of JSON in quotes: {value}->'{key}'",
                )


_NUMBER = re.compile(r"([0-9]*)(\.[0-9]*)?([eE][+-]?[0-9]+)?")

#: Digits that every DOUBLE tells apart, those of a DECIMAL, and the greatest whole number that the engine has.
_DOUBLE_DIGITS, _DECIMAL_DIGITS, _UHUGEINT_MAX = 17, 38, (1 << 128) - 1


def _loses_digits(number: str) -> bool:
    """Whether the engine makes a DOUBLE of a number, and it has more digits than one holds."""
    found = _NUMBER.fullmatch(number.replace("_", ""))
    if found is None:
        return False
    whole, fraction, exponent = found[1].lstrip("0"), (found[2] or "").removeprefix("."), found[3]
    if len((whole + fraction).strip("0")) <= _DOUBLE_DIGITS:
        return False
    if exponent is None and found[2] is None:
        return len(whole) > _DECIMAL_DIGITS + 1 or int(whole) > _UHUGEINT_MAX
    return exponent is not None or len(whole + fraction) > _DECIMAL_DIGITS


def _is_unknown(scope: Scope, node: exp.Expr) -> bool:
    """True for a plain name that is neither a column nor an alias."""
    if not isinstance(node, exp.Column) or node.table or not isinstance(node.this, exp.Identifier):
        return False
    name = name_of(node.this)
    return not scope.find(name) and _alias(scope.aliases, name) is None


def _name_comprehensions(holder: exp.Expression) -> None:
    """Turn the variables of `[x + i FOR x, i IN list]` from columns into names."""
    for node in holder.find_all(exp.Comprehension):
        for variable in variables_of(node):
            for part in (node.this, node.args.get("condition")):
                for found in list(part.find_all(exp.Column)) if part is not None else []:
                    if found.name.lower() == variable.lower() and not found.table:
                        found.replace(exp.to_identifier(variable))


def _extract_fields(context: Context, holder: exp.Expression) -> None:
    for node in reversed(list(holder.find_all(exp.Dot, bfs=False))):
        if not isinstance(node.expression, exp.Identifier):
            name = node.expression.name or node.expression.sql("duckdb")
            raise context.error(
                node, f"calling {name} with a dot is not supported", "E1201", f"write {name}(…) around the value"
            )
        node.replace(_field(node.this, node.expression))


def _field(value: exp.Expr, name: exp.Expr) -> exp.Expression:
    """`value.name` in a form that cannot be taken for a table's column."""
    field_name = exp.Literal.string(name.name)
    call = exp.Anonymous(this="STRUCT_EXTRACT", expressions=[value, field_name])
    span = span_of(name)
    if span is not None:
        place(field_name, span)
        place(call, span)
    return call


def place(node: exp.Expr, span: Span) -> None:
    """Note where a node stands in the text."""
    node.meta["start"] = span.start
    node.meta["end"] = span.stop - 1


def _edge(edge: str, at: exp.Expr) -> exp.Expression:
    bound = column(WINDOW_START if edge == "start" else WINDOW_END)
    bound.meta[EDGE] = True
    span = span_of(at)
    if span is not None:
        place(bound, span)
    return bound


def _column(context: Context, scope: Scope, node: exp.Column) -> exp.Expression:
    parts = list(node.parts)
    if not all(isinstance(part, exp.Identifier) for part in parts):
        raise context.error(node, "after a dot comes a name", "E1001", "write table.column or column.field")
    names = [name_of(part) for part in parts]
    side = scope.side(names[0]) if len(parts) > 1 else None
    if side is not None:
        found = side.find(names[1])
        if found is None and scope.window is not None and not names[1].quoted and names[1].text.lower() in _EDGES:
            edge = _edge("start" if _EDGES[names[1].text.lower()] == WINDOW_START else "end", node)
            return _fields(edge, parts[2:])
        if found is None:
            raise _unknown(context, replace(scope, sides=(side,)), names[1], node)
        base: exp.Expression = _input_column(found, names[1].span)
        rest = parts[2:]
    else:
        base, rest = _first_name(context, scope, names, node), parts[1:]
    return _fields(base, rest)


def _fields(base: exp.Expression, names: Sequence[exp.Expr]) -> exp.Expression:
    for name in names:
        base = _field(base, name)
    return grouped(base)


def _first_name(context: Context, scope: Scope, names: list[Name], node: exp.Column) -> exp.Expression:
    name = names[0]
    if scope.window is not None and not name.quoted and name.text.lower() in _EDGES:
        return _edge("start" if _EDGES[name.text.lower()] == WINDOW_START else "end", node)
    found = scope.find(name)
    if len(found) > 1:
        raise ambiguous(context, scope, name)
    merged = scope.merged_column(name)
    if merged is not None:
        return _placed(merged.tree, name.span)
    if found:
        return _input_column(found[0], name.span)
    alias = _alias(scope.aliases, name)
    if alias is not None:
        return alias.copy()
    raise _unknown(context, scope, name, node, qualified=len(names) > 1)


def _alias(aliases: Mapping[str, exp.Expression], name: Name) -> exp.Expression | None:
    return next((tree for alias, tree in aliases.items() if name.matches(alias)), None)


def _input_column(name: str, span: Span) -> exp.Column:
    found = column(name)
    place(found.this, span)
    return found


def _placed(tree: exp.Expression, span: Span) -> exp.Expression:
    """A copy of an expression that stands where the name of a column does."""
    made = tree.copy()
    for part in made.find_all(exp.Identifier):
        place(part, span)
    return made


def ambiguous(context: Context, scope: Scope, name: Name) -> SqlError:
    """The error for a name that several tables of FROM have."""
    owners = [side.text for side in scope.sides if side.find(name) is not None]
    ways = [f"{side.qualifier.text}.{name.text}" for side in scope.sides if side.qualifier and side.find(name)]
    return context.error(
        name.span,
        f"{' and '.join(owners)} each have a column {name.text}",
        "E1101",
        f"write {' or '.join(ways)}" if ways else "give each subquery a name: (SELECT …) AS t",
    )


#: Calls about a message's headers, and what each is of the map that holds them. How many arguments they take.
HEADER_CALLS = {"header": ("map_extract_value", 1), "has_header": ("map_contains", 1), "header_keys": ("map_keys", 0)}


def _header_call(context: Context, scope: Scope, call: exp.Anonymous) -> exp.Expression:
    """`HEADER('k')`, `HAS_HEADER('k')`, `HEADER_KEYS()`. Raises `SqlError`."""
    name, count = HEADER_CALLS[call.name.lower()]
    if len(call.expressions) != count:
        wanted = f"{call.name}('name')" if count else f"{call.name}()"
        raise context.error(call, f"{call.name} takes {count} argument{'s' * (count != 1)}", "E1102", f"write {wanted}")
    headers = scope.find(Name(_HEADERS, True, Span(0, 0)))
    if not headers:
        raise context.error(
            call, f"{call.name} needs the headers of a message", "E1101", "call it in the query that reads from Kafka"
        )
    if len(headers) > 1:
        hint = "call it in a subquery over one stream: FROM (SELECT *, HEADER('k') AS h FROM s) AS s JOIN …"
        raise context.error(
            call, f"the messages of several streams have headers here: {call.name} of which?", "E1101", hint
        )
    made = exp.Anonymous(this=name, expressions=[column(headers[0]), *[item.copy() for item in call.expressions]])
    made.update_positions(call)
    return made


def _unknown(context: Context, scope: Scope, name: Name, node: exp.Column, qualified: bool = False) -> SqlError:
    lower = name.text.lower()
    if lower in _EDGES:
        return context.error(
            node, f"{name.text} needs a window in GROUP BY", "E1101", "add TUMBLE(ts, INTERVAL '1' MINUTE) to GROUP BY"
        )
    if lower == EVENT_TIME:
        return context.error(
            name.span,
            f"{name.text}: the rows here have no event time",
            "E1101",
            "declare it: WATERMARK FOR ts AS ts - INTERVAL '5' SECOND; an inner query must select its column",
        )
    if lower in _SYSTEM_COLUMNS:
        return context.error(
            name.span, f"the system column {name.text} is not supported", "E1201", "declare a column for it"
        )
    known = [*scope.known, *scope.aliases]
    message = f"there is no {'table or ' if qualified else ''}column {name.text}"
    if qualified and scope.qualifiers:
        near = nearest(name.text, scope.qualifiers)
        called = " and ".join(scope.qualifiers)
        are = "the stream is" if len(scope.qualifiers) == 1 else "the tables are"
        hint = f"did you mean {near}?" if near else f"{are} called {called} here"
        return context.error(name.span, message, "E1101", hint)
    if any(name.matches(alias) for alias in scope.later):
        return context.error(name.span, message, "E1101", "an alias can be used only to the right of where it is given")
    if name.quoted and any(other.lower() == lower for other in known):
        other = next(other for other in known if other.lower() == lower)
        return context.error(name.span, message, "E1101", f"quoted names match exactly: did you mean {other}?")
    if name.quoted and nearest(name.text, known) is None:
        quotes = "a text stands in single quotes, a name in double quotes"
        return context.error(name.span, message, "E1101", quotes)
    return context.error(name.span, message, "E1101", did_you_mean(name.text, known))


def _mark_volatile(context: Context, scope: Scope, holder: exp.Expression) -> None:
    """Give each call of the clock or of chance a number: copies of it stay one value."""
    for call in list(holder.find_all(exp.Func, bfs=True)):
        name = call_name(call)
        if name is None or not context.functions.is_volatile(name, len(call.expressions)):
            continue
        context.note_outside_law(f"{name}()")
        outer = _outermost_lambda_call(call)
        if outer.meta_get(VOLATILE) is None:
            assert isinstance(outer, exp.Expression)
            kind = type_of(context, outer, scope.described)
            outer.meta[VOLATILE] = next(context.marks)
            outer.meta[VOLATILE_TYPE] = kind


def _outermost_lambda_call(call: exp.Expr) -> exp.Expr:
    """The call itself, or, inside a lambda, the call that the outermost lambda is an argument of."""
    outer, node = call, call.parent
    while node is not None:
        if isinstance(node, exp.Lambda | exp.Comprehension) and node.parent is not None:
            outer = node.parent
        node = node.parent
    return outer
