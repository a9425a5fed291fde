"""JSON objects with every key that a STRUCT type names: `from_json_strict` wants them all, the plain reader not."""

from __future__ import annotations

import json
from typing import TypeAlias

from sqlglot import exp

T = exp.DataType.Type

#: An object as its pairs, so that a key that stands twice is not lost.
_Json: TypeAlias = "str | int | float | bool | list[_Json] | _Pairs | None"


class _Pairs(tuple["tuple[str, _Json]", ...]):
    """An object."""


class _Number(str):
    """A number as written."""


def has_struct(kind: exp.DataType) -> bool:
    return any(part.this == T.STRUCT for part in kind.find_all(exp.DataType))


def filled_objects(record: str, name: str, kind: exp.DataType) -> str | None:
    """`{"name": value}` of a record, with NULL for the keys that its structs lack; None when there is no such key."""
    try:
        pairs = json.loads(
            record, object_pairs_hook=_Pairs, parse_float=_Number, parse_int=_Number, parse_constant=_Number
        )
    except (ValueError, RecursionError):
        return None
    found = [value for key, value in pairs if key == name]
    if not found:
        return None
    return _written(_Pairs((name, _filled(value, kind)) for value in found))


def _filled(value: _Json, kind: exp.DataType) -> _Json:
    match kind.this:
        case T.STRUCT if isinstance(value, _Pairs):
            kinds = {field.this.name: field.args["kind"] for field in kind.expressions}
            given = [(key, _filled(inner, kinds[key]) if key in kinds else inner) for key, inner in value]
            missing = kinds.keys() - {key for key, _ in value}
            return _Pairs([*given, *((key, None) for key in missing)])
        case T.MAP if isinstance(value, _Pairs):
            return _Pairs((key, _filled(inner, kind.expressions[1])) for key, inner in value)
        case T.ARRAY | T.LIST if isinstance(value, list):
            return [_filled(inner, kind.expressions[0]) for inner in value]
    return value


def _written(value: _Json) -> str:
    match value:
        case _Number():
            return str(value)
        case _Pairs():
            return "{" + ",".join(f"{json.dumps(key)}:{_written(inner)}" for key, inner in value) + "}"
        case list():
            return "[" + ",".join(_written(inner) for inner in value) + "]"
    return json.dumps(value)
