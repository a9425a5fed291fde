"""Numbers inside JSON keep their digits, whatever a query makes of the document.

The engine's JSON functions make doubles of numbers with a fraction or an exponent, and of decimals. What takes a value
out of a document by a path is exact by itself (`duck.json_macros`). Here, where types are known: casts of JSON go by
its text, documents are read with numbers as text, and functions that make JSON of JSON or decimals get their numbers
marked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from sqlglot import exp
from sqlglot.expressions.builders import apply_index_offset

from ferrisstreams.duck.json_macros import BEGIN, END, EXTRACTING, OWN, finds_several
from ferrisstreams.formats.expressions import call, data_type, text
from ferrisstreams.formats.nested import CONTAINERS, each_leaf, with_leaves
from ferrisstreams.sql.calls import call_name
from ferrisstreams.sql.context import Context
from ferrisstreams.sql.inference import describe, type_of
from ferrisstreams.sql.lambdas import Region
from ferrisstreams.sql.offsets import parts_in_utc

T = exp.DType

_INTEGERS = (
    *(T.TINYINT, T.SMALLINT, T.INT, T.BIGINT, T.INT128),
    *(T.UTINYINT, T.USMALLINT, T.UINT, T.UBIGINT, T.UINT128),
)
_TEXTS = (T.TEXT, T.VARCHAR, T.JSON)
#: Types that the engine reads from text without its offset.
_TIMES = (T.DATE, T.TIME, T.TIMESTAMP, T.TIMESTAMPNTZ, T.TIMESTAMP_S, T.TIMESTAMP_MS, T.TIMESTAMP_NS)
_READING = {
    "from_json": "ferris_json_read", "json_transform": "ferris_json_read",
    "from_json_strict": "ferris_json_read_strict", "json_transform_strict": "ferris_json_read_strict",
}  # fmt: skip
#: Functions of documents, and those of their arguments that are some; None: all.
_DOCUMENTS: dict[str, tuple[int, ...] | None] = {
    "json": (0,), "json_pretty": (0,), "json_normalize": (0,), "json_strip_nulls": (0,), "json_remove": (0,),
    "json_set": (0, 2), "json_insert": (0, 2), "json_replace": (0, 2),
    "json_merge_patch": None, "json_merge_patch_diff": None, "json_deep_merge": None,
}  # fmt: skip
#: Functions of values, which may be documents or hold some.
_VALUES = frozenset((
    "to_json", "json_quote", "row_to_json", "array_to_json", "json_array", "json_object", "json_group_array",
    "json_group_object",
))  # fmt: skip


#: Of these every other argument is a key.
_KEYED = frozenset(("json_object", "json_group_object"))


def keep_digits(context: Context, region: Region) -> None:
    """Let the region's expressions keep the digits of numbers in JSON. Raises `SqlError`."""
    _leave_lists_of_paths(context, region)
    nodes = [node for node in region.walk() if isinstance(node, exp.Expression) and _is_of_json(node)]
    if not nodes or not _may_have_json(region):
        return
    operands = [operand for node in nodes for operand in _operands(node)]
    kinds = iter([kind for _, kind in describe(context, operands, region.schema)])
    typed = [(node, [next(kinds) for _ in _operands(node)]) for node in nodes]
    for node, types in reversed(typed):
        # Inner ones first: what stands in their place by now is of the same type.
        _replace(context, node, list(zip(_operands(node), types, strict=True)))


def _leave_lists_of_paths(context: Context, region: Region) -> None:
    for node in region.walk():
        if isinstance(node, exp.JSONExtract | exp.JSONExtractScalar):
            path = node.expression
        elif call_name(node) in EXTRACTING and len(node.expressions) == 2:
            path = node.expressions[1]
        else:
            continue
        plain = not isinstance(path, exp.Expression) or isinstance(path, exp.Literal | exp.Identifier)
        if not plain and not finds_several(path) and type_of(context, path, region.schema).endswith("]"):
            node.meta[OWN] = True


def _may_have_json(region: Region) -> bool:
    if any("JSON" in item.type for item in region.schema):
        return True
    return any(
        (isinstance(node, exp.DataType) and node.this == T.JSON)
        or isinstance(node, exp.JSONExtract)
        or "json" in (call_name(node) or "")
        for node in region.walk()
    )


def _is_of_json(node: exp.Expr) -> bool:
    if isinstance(node, exp.Cast):
        return node.to.this not in _TEXTS or node.to.this == T.JSON
    return isinstance(node, exp.Bracket) or call_name(node) in (*_READING, *_DOCUMENTS, *_VALUES)


def _operands(node: exp.Expression) -> list[exp.Expression]:
    """What must be known the types of: the first of a cast, of a subscript and of reading, else all arguments."""
    if isinstance(node, exp.Cast | exp.Bracket):
        return [node.this]
    if call_name(node) in _READING:
        return [node, *node.expressions[:1]]
    return [part for part in _arguments(node) if not isinstance(part, exp.Star)]


def _arguments(node: exp.Expr) -> Iterator[exp.Expression]:
    for part in node.iter_expressions():
        if isinstance(part, exp.Distinct | exp.Order | exp.Ordered):
            yield from _arguments(part)
        elif isinstance(part, exp.Expression):
            yield part


def _replace(context: Context, node: exp.Expression, parts: Sequence[tuple[exp.Expression, str]]) -> None:
    name = call_name(node)
    if isinstance(node, exp.Cast):
        ((operand, kind),) = parts
        if kind == "JSON":
            _replace_cast(context, node, operand)
        elif node.to.this == T.JSON and _is_inexact(kind):
            node.set("this", call("ferris_json_restored", call("to_json", _marked_inside(operand, kind))))
    elif isinstance(node, exp.Bracket):
        if parts[0][1] == "JSON" and len(node.expressions) == 1 and not isinstance(node.expressions[0], exp.Slice):
            offset = 1 - int(node.args.get("offset") or 0)
            (place,) = apply_index_offset(node.this, node.expressions, offset, dialect="duckdb")
            node.replace(exp.JSONExtract(this=node.this, expression=place))
    elif name in _READING:
        (_, kind), (document, given) = parts
        _replace_reading(node, data_type(kind), document, given, _READING[name])
    elif name in _DOCUMENTS:
        places = _DOCUMENTS[name]
        for place, (argument, kind) in enumerate(parts):
            if places is None or place in places:
                if kind in ("VARCHAR", "JSON", "VARIANT"):  # The engine reads the last one's text.
                    value = exp.cast(argument.copy(), "VARCHAR") if kind == "VARIANT" else argument.copy()
                    made = call("ferris_json_guarded", value)
                else:
                    made = call("to_json", _marked_inside(argument, kind))
                argument.replace(exp.cast(made, "JSON", dialect="duckdb"))
        _unmark(node, "VARCHAR" if name in ("json_pretty", "json_normalize") else "JSON")
    elif any(_is_inexact(kind) for _, kind in parts):
        for place, (argument, kind) in enumerate(parts):
            if not (name in _KEYED and place % 2 == 0):
                argument.replace(_marked_inside(argument, kind))
        _unmark(node, "JSON")


def _is_inexact(kind: str) -> bool:
    """Whether the engine does not write all digits of a value of this type into JSON."""
    return "JSON" in kind or "DECIMAL" in kind


def _replace_cast(context: Context, node: exp.Cast, operand: exp.Expression) -> None:
    kind = node.to
    if kind.sql("duckdb") == "VARIANT":
        hint = "cast a value of it: CAST(j->>'$.a' AS DECIMAL(18,2))"
        raise context.error(node, "JSON as VARIANT does not keep the digits of its numbers", "E1201", hint)
    if kind.this in _INTEGERS or kind.this == T.DECIMAL:
        operand.replace(exp.JSONExtractScalar(this=operand.copy(), expression=text("$")))
    elif kind.this in CONTAINERS and _has_digits(kind):
        macro = _READING["from_json_strict" if not isinstance(node, exp.TryCast) else "from_json"]
        operand.replace(_read(macro, operand.copy(), kind))


def _replace_reading(
    node: exp.Expression, kind: exp.DataType, document: exp.Expression, given: str, macro: str
) -> None:
    if not _has_digits(kind):
        return
    checked = document.copy() if given == "JSON" else exp.cast(document.copy(), "JSON", dialect="duckdb")
    made = _read(macro, checked, kind)
    cast = exp.Cast if macro == _READING["from_json_strict"] else exp.TryCast
    reading = cast(this=made, to=kind.copy())
    if any(leaf.this in _TIMES for leaf in kind.find_all(exp.DataType)):
        reading.this.replace(parts_in_utc(reading))
    node.replace(reading)


def _has_digits(kind: exp.DataType) -> bool:
    return any(leaf.this in (*_INTEGERS, *_TEXTS, *_TIMES) for leaf in kind.find_all(exp.DataType))


def _read(macro: str, document: exp.Expression, kind: exp.DataType) -> exp.Expression:
    """The document with its whole numbers and its times as text. Beside a DECIMAL, the engine reads all numbers by
    their digits."""
    shape = with_leaves(kind, lambda leaf: data_type("VARCHAR") if leaf.this in (*_INTEGERS, *_TIMES) else leaf)
    described = json.dumps({"v": shape.sql("duckdb"), "z": "DECIMAL(1,0)"}, ensure_ascii=False)
    return call(macro, document, text(described))


def _marked_inside(value: exp.Expression, kind: str) -> exp.Expression:
    """The value with its decimals marked, and the numbers in the documents that it is or holds, and with marks of its
    texts kept from being taken for such."""

    def leaf(inner: exp.DataType, part: exp.Expr) -> exp.Expr:
        if inner.this == T.JSON:
            return exp.cast(call("ferris_json_guarded", part.copy()), "JSON", dialect="duckdb")
        if inner.this == T.DECIMAL:
            marked = exp.DPipe(this=text(BEGIN), expression=exp.cast(part.copy(), "VARCHAR"), safe=False)
            return exp.paren(exp.DPipe(this=marked, expression=text(END), safe=False))
        return call("ferris_json_escaped", part.copy()) if inner.this in _TEXTS else part.copy()

    shape = data_type(kind).copy()
    for array in shape.find_all(exp.DataType):
        if array.this in (T.ARRAY, T.LIST):
            array.set("values", None)  # Of any length: JSON has but one form for them.
    made = each_leaf(shape, value.copy(), leaf)
    assert isinstance(made, exp.Expression)
    return made


def _unmark(node: exp.Expression, kind: str) -> None:
    holder = exp.Paren(this=exp.null())
    node.replace(holder)
    holder.replace(exp.cast(call("ferris_json_restored", node), kind, dialect="duckdb"))
