"""What can be known of constants before a row is read: the engine itself is asked, with typed values for the rest.

A constant alone (`CAST('abc' AS INTEGER)`), and a constant in an operation over what a row gives (`n > 'abc'`,
`regexp_replace(s, '(', '')`, `date_trunc('dya', at)`), is refused when the operation fails whatever the row: for NULL,
or for each of some plain values. Values of text are as a row has them, so an operation over text is tried with NULL
alone, except that a format takes any text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sqlglot import exp

from ferrisstreams.duck.engine import BindError, DataError
from ferrisstreams.duck.growth import grows
from ferrisstreams.plan.expressions import column, type_tree, typed_as
from ferrisstreams.plan.rewrites import VOLATILE
from ferrisstreams.schema import Schema
from ferrisstreams.sql.calls import call_name, is_aggregate, put_engine_names
from ferrisstreams.sql.context import Context
from ferrisstreams.sql.inference import explain_bind_error, typed_select
from ferrisstreams.sql.quantified import element_comparisons

#: Nodes that are no operation of their own.
_SYNTAX = (
    exp.Filter, exp.Where, exp.Order, exp.Ordered, exp.Distinct, exp.Paren, exp.Tuple, exp.If, exp.PropertyEQ,
    exp.Kwarg, exp.Slice, exp.WithinGroup, exp.Lambda, exp.Comprehension, exp.DataType, exp.Identifier,
    exp.Var, exp.Alias,
)  # fmt: skip

#: Plain values of a type, as text that is cast to it.
_NUMBERS, _TIMES = ("0", "1", "-1"), ("2000-01-01", "1999-06-15", "2024-02-29")
_SAMPLES = {
    "BOOLEAN": ("true", "false", "true"),
    "TIME": ("00:00:00", "12:30:00", "23:59:59"),
    "INTERVAL": ("1 day", "1 hour", "1 month"),
    **dict.fromkeys(("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"), ("0", "1", "2")),
    **dict.fromkeys(("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"), _TIMES),
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL"), _NUMBERS),
}
_SAMPLES_COUNT = 3
_TEXTS = ("a", "b", "")

#: Calls whose arguments can be any text. So can what is compared with a pattern.
_FORMATS = frozenset({"format", "printf"})

_SAMPLE, _PART = "_sample", "_o"

#: In the meta of a condition that is cast: the call that it is a condition of.
_INSIDE = "inside"

_HINT = "it fails whatever the row: correct the constant, or wrap it in TRY(…) where NULL is meant"


@dataclass(frozen=True, slots=True)
class _Trial:
    """An operation whose parts that a row gives are columns `_o0` …, which `parts` are. `constants` are the others, as
    written and in the trial."""

    node: exp.Expression
    tree: exp.Expression
    parts: tuple[exp.Expression, ...]
    constants: tuple[tuple[exp.Expr, exp.Expr], ...]
    aggregates: bool

    @property
    def takes_text(self) -> bool:
        return call_name(self.node) in _FORMATS or isinstance(self.node, exp.Escape)


@dataclass(frozen=True, slots=True)
class _Typed:
    trial: _Trial
    types: tuple[str, ...]


def check_constants(context: Context, trees: Sequence[exp.Expression], schema: Schema) -> None:
    """Refuse constants with which no row can be computed. `trees` are bound over `schema`. Raises `SqlError`."""
    trials = {trial.node.sql("duckdb"): trial for tree in trees for trial in _trials(context, tree)}
    everything = _different(_with_types(context, list(trials.values()), schema))
    typed = [item for item in everything if not item.trial.aggregates]
    _refuse_first(context, typed, _fails_for_null)
    _refuse_first(context, [item for item in typed if item.types and _is_sampled(item)], _fails_for_samples)
    aggregates = [item for item in everything if item.trial.aggregates and _is_sampled(item)]
    _refuse_first(context, aggregates, _fails_as_aggregate)


# The operations


def _trials(context: Context, tree: exp.Expression) -> Iterator[_Trial]:
    """The operations with constants, inner ones first."""
    condition = _condition(tree)
    if condition is not None:
        yield from _trials(context, condition)
    for comparison in element_comparisons(tree):
        yield from _trials(context, comparison)
    if _is_guarded(tree):
        return
    for child in () if _takes_null(context, tree) or call_name(tree) in _TYPED else tree.iter_expressions():
        if isinstance(child, exp.Expression):
            yield from _trials(context, child)
    if isinstance(tree, exp.Condition) and not isinstance(tree, (*_SYNTAX, exp.Column, exp.Literal)):
        trial = _trial(context, tree)
        if trial is not None:
            yield trial


def _condition(node: exp.Expr) -> exp.Cast | None:
    """What the engine makes a BOOLEAN of where no operation says so: the condition of FILTER and of `assert_true`."""
    if isinstance(node, exp.Filter):
        value = node.expression.this
    elif call_name(node) == "assert_true" and node.expressions:
        value = node.expressions[0]
    else:
        return None
    condition = exp.Cast(this=value.copy(), to=exp.DataType(this=exp.DType.BOOLEAN))
    condition.meta[_INSIDE] = node
    return condition


def _is_guarded(node: exp.Expr) -> bool:
    """Whether what fails inside is meant to, or cannot be tried."""
    if isinstance(node, exp.Binary) and not isinstance(node, _TAKES_NULL):
        return any(map(_gives_null, node.iter_expressions()))
    kinds = (exp.Lambda, exp.Comprehension)
    return call_name(node) in _GUARDS or isinstance(node, kinds) or grows(node)


def _takes_null(context: Context, node: exp.Expr) -> bool:
    """Whether this is a call with NULL: of most the engine computes no other argument, and only the whole can tell."""
    return (
        isinstance(node, exp.Anonymous) and not is_aggregate(context, node) and any(map(_gives_null, node.expressions))
    )


def _gives_null(node: exp.Expr) -> bool:
    if isinstance(node, exp.Binary) and not isinstance(node, _TAKES_NULL):
        return any(map(_gives_null, node.iter_expressions()))
    return _gives_null(node.this) if isinstance(node, exp.Paren | exp.Cast) else isinstance(node, exp.Null)


#: Calls with arguments of which the engine asks the type alone.
_TYPED = ("replace_type", "cast_to_type", "can_cast_implicitly")

#: `error` and what holds it fail where they are reached.
_GUARDS = frozenset({"try", "error", "assert_true", "struct_extract"})

#: Operators that give something for NULL; of all others the engine does not compute the other side.
_TAKES_NULL = (exp.Connector, exp.Is, exp.NullSafeEQ, exp.NullSafeNEQ)


def _trial(context: Context, node: exp.Expression) -> _Trial | None:
    holder = exp.Tuple(expressions=[node.copy()])
    parts: list[exp.Expression] = []
    constants: list[tuple[exp.Expr, exp.Expr]] = []
    if not _take_apart(context, node, holder.expressions[0], parts, constants):
        return None
    telling = [made for _, made in constants if not isinstance(made, exp.Null | exp.Boolean)]
    if not telling:
        return None
    put_engine_names(holder)
    tree = holder.expressions[0]
    assert isinstance(tree, exp.Expression)
    tree.pop()
    return _Trial(node, tree, tuple(parts), tuple(constants), is_aggregate(context, node))


def _take_apart(
    context: Context,
    written: exp.Expr,
    made: exp.Expr,
    parts: list[exp.Expression],
    constants: list[tuple[exp.Expr, exp.Expr]],
) -> bool:
    """Replace in `made` what a row gives by columns; False when the two cannot be distinguished."""
    for child, copy in zip(list(written.iter_expressions()), list(made.iter_expressions()), strict=True):
        if isinstance(child, exp.Lambda | exp.Comprehension | exp.Star):
            return False
        if isinstance(child, exp.DataType | exp.Identifier | exp.Var):
            continue
        if _is_constant(context, child):
            constants.append((child, copy))
        elif _is_syntax(child, written):
            if not _take_apart(context, child, copy, parts, constants):
                return False
        else:
            assert isinstance(child, exp.Expression)
            if child not in parts:
                parts.append(child)
            copy.replace(column(f"{_PART}{parts.index(child)}"))
    return True


def _is_syntax(node: exp.Expr, parent: exp.Expr) -> bool:
    """Whether a node has no value apart from its parent."""
    if isinstance(parent, exp.Escape | exp.ToMap):
        return isinstance(node, exp.Binary | exp.Struct)
    return isinstance(node, _SYNTAX) and not isinstance(node, exp.Paren)


def _is_constant(context: Context, node: exp.Expr) -> bool:
    return not any(
        _is_of_row(part) or call_name(part) in ("error", "assert_true") or is_aggregate(context, part)
        for part in node.walk()
    )


def _is_of_row(part: exp.Expr) -> bool:
    """Whether this has no value alone, or none to compute before a row is read."""
    varies = isinstance(part, exp.Column | exp.Lambda | exp.Comprehension | exp.Star)
    return varies or part.meta_get(VOLATILE) is not None or grows(part)


def _with_types(context: Context, trials: Sequence[_Trial], schema: Schema) -> list[_Typed]:
    """The trials with the types of their parts; those whose parts have none alone are left out."""
    parts = [part for trial in trials for part in trial.parts]
    try:
        kinds = iter(_types(context, parts, schema))
        return [_Typed(trial, tuple(next(kinds) for _ in trial.parts)) for trial in trials]
    except (BindError, DataError):
        if len(trials) == 1:
            return []
        return [typed for trial in trials for typed in _with_types(context, [trial], schema)]


def _types(context: Context, parts: Sequence[exp.Expression], schema: Schema) -> list[str]:
    declared = [schema.get(part.name) if isinstance(part, exp.Column) else None for part in parts]
    asked = [part for part, known in zip(parts, declared, strict=True) if known is None]
    kinds = iter(context.connection.types(typed_select(asked, schema)) if asked else [])
    return [known.type if known is not None else next(kinds)[1] for known in declared]


def _different(typed: Sequence[_Typed]) -> list[_Typed]:
    """The first of those that do the same with values of the same types."""
    found: dict[tuple[object, ...], _Typed] = {}
    for item in typed:
        found.setdefault((item.trial.tree.sql("duckdb"), item.types, item.trial.aggregates), item)
    return list(found.values())


# The trials

_Fails: TypeAlias = Callable[[Context, Sequence[_Typed]], DataError | BindError | None]


def _refuse_first(context: Context, typed: Sequence[_Typed], fails: _Fails) -> None:
    """Raises `SqlError` for the first of them that fails."""
    if not typed or fails(context, typed) is None:
        return
    if len(typed) > 1:
        middle = len(typed) // 2
        _refuse_first(context, typed[:middle], fails)
        _refuse_first(context, typed[middle:], fails)
        return
    if _is_left_out(context, typed[0].trial.node):
        return
    error = fails(context, typed)
    assert error is not None
    hint = _HINT if isinstance(error, DataError) else None
    raise explain_bind_error(context, _culprit(context, typed[0], fails, error), error, hint)


def _is_left_out(context: Context, node: exp.Expr) -> bool:
    """Whether what fails stands inside a constant that the engine has without computing it."""
    whole = node.meta_get(_INSIDE) or node.parent
    if not isinstance(whole, exp.Expression) or any(map(_is_of_row, whole.walk())):
        return False
    if isinstance(whole, exp.Condition) and not isinstance(whole, _SYNTAX):
        try:
            context.connection.materialize("_trials", exp.select(whole.copy()))
        except (BindError, DataError):
            pass
        else:
            return True
    return _is_left_out(context, whole)


def _culprit(context: Context, item: _Typed, fails: _Fails, failure: DataError | BindError) -> exp.Expression:
    """The constant without which the operation does not fail, or that the failure names; else the operation."""
    constants = item.trial.constants
    if item.trial.aggregates:
        # Not tried with NULL, at which some aggregates bring the engine down.
        return (
            constants[0][0] if len(constants) == 1 and isinstance(constants[0][0], exp.Expression) else item.trial.node
        )
    # What stands behind ESCAPE is to blame for it, and not the pattern before it.
    for written, made in reversed(constants) if isinstance(item.trial.node, exp.Escape) else constants:
        null = exp.null()
        made.replace(null)
        error = fails(context, [item])
        null.replace(made)
        if error is None and isinstance(written, exp.Expression):
            return written
    named = (written for written, _ in constants if written.name and f"'{written.name}'" in str(failure))
    return next((written for written in named if isinstance(written, exp.Literal)), item.trial.node)


def _fails_for_null(context: Context, typed: Sequence[_Typed]) -> DataError | BindError | None:
    """What the engine says when all that a row gives is NULL; of several at once, whether one fails."""
    error = _error(context, typed, _row(0))
    # What does not bind here has been bound in its place.
    return error if len(typed) > 1 or isinstance(error, DataError) else None


def _fails_as_aggregate(context: Context, typed: Sequence[_Typed]) -> DataError | BindError | None:
    """What the engine says when an aggregate fails over NULL, and over each of the plain values."""
    error = _fails_for_null(context, typed)
    if error is None or len(typed) > 1:
        return error
    return _fails_for_samples(context, typed) if typed[0].types else error


def _fails_for_samples(context: Context, typed: Sequence[_Typed]) -> DataError | BindError | None:
    """What the engine says when the operation fails for each of the plain values."""
    if len(typed) == 1:
        # Not by TRY, which does not catch every error.
        error: DataError | BindError | None = None
        for row in range(1, _SAMPLES_COUNT + 1):
            error = _error(context, typed, _row(row))
            if not isinstance(error, DataError):
                return None
        return error
    fail = [
        exp.func("bool_and", exp.Is(this=_call("TRY", _call("list_value", tree)), expression=exp.null()))
        for tree in _renamed(typed)
    ]
    try:
        found = context.connection.rows(
            exp.select(*fail).from_(_samples(typed), copy=False).where(_plain_rows(), copy=False)
        )
    except (BindError, DataError) as error:
        return error
    return _error(context, typed, _plain_rows()) if any(found[0]) else None


def _row(number: int) -> exp.Expression:
    return exp.EQ(this=column(_SAMPLE), expression=exp.Literal.number(number))


def _plain_rows() -> exp.Expression:
    return exp.GT(this=column(_SAMPLE), expression=exp.Literal.number(0))


def _error(context: Context, typed: Sequence[_Typed], rows: exp.Expression) -> DataError | BindError | None:
    trees = [exp.alias_(tree, f"c{place}") for place, tree in enumerate(_renamed(typed))]
    try:
        # Kept as a table: not every value of the engine is one of Python's.
        context.connection.materialize(
            "_trials", exp.select(*trees, copy=False).from_(_samples(typed), copy=False).where(rows, copy=False)
        )
    except (BindError, DataError) as error:
        return error
    return None


def _call(name: str, argument: exp.Expression) -> exp.Expression:
    return exp.Anonymous(this=name, expressions=[argument])


def _renamed(typed: Sequence[_Typed]) -> list[exp.Expression]:
    """The trials over the columns of the plain values, of which those of one type share one."""
    columns = _columns(typed)
    trees = [item.trial.tree.copy() for item in typed]
    for item, tree in zip(typed, trees, strict=True):
        for part in tree.find_all(exp.Column):
            kind = item.types[int(part.name.removeprefix(_PART))]
            part.set("this", exp.to_identifier(columns[kind, item.trial.takes_text]))
    return trees


def _columns(typed: Sequence[_Typed]) -> dict[tuple[str, bool], str]:
    """The names of the columns by their type, and whether they are any text."""
    kinds = dict.fromkeys((kind, item.trial.takes_text) for item in typed for kind in item.types)
    return {kind: f"_c{number}" for number, kind in enumerate(kinds)}


def _samples(typed: Sequence[_Typed]) -> exp.Expression:
    """NULL as row 0 and the plain values behind it. A list of rows, because the engine computes with constants of a
    SELECT alone before it runs it, and leaves out what it then need not do."""
    columns = _columns(typed)
    rows = [
        exp.Tuple(
            expressions=[exp.Literal.number(row), *(_sample(kind, takes_text, row) for kind, takes_text in columns)]
        )
        for row in range(_SAMPLES_COUNT + 1)
    ]
    names = [exp.to_identifier(name) for name in (_SAMPLE, *columns.values())]
    return exp.Values(expressions=rows, alias=exp.TableAlias(this=exp.to_identifier("_samples"), columns=names))


def _sample(kind: str, takes_text: bool, row: int) -> exp.Expression:
    values = _values(kind, takes_text) if row else None
    if not values:
        return typed_as(exp.null(), kind)
    # A DECIMAL(2,2) holds no 1.
    return exp.TryCast(this=exp.Literal.string(values[row - 1]), to=type_tree(kind))


def _values(kind: str, takes_text: bool) -> tuple[str, ...] | None:
    if kind == "VARCHAR" and takes_text:
        return _TEXTS
    return None if kind.endswith("]") else _SAMPLES.get(kind.partition("(")[0])


def _is_sampled(item: _Typed) -> bool:
    return all(_values(kind, item.trial.takes_text) for kind in item.types)
