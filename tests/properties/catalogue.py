"""Random expressions out of the engine's own catalogue: every scalar function, operator, aggregate and type that it
lists, with columns, literals of each spelling, NULL, casts, subscripts, CASE, lambdas, FILTER and ORDER BY inside."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import duckdb

from ferrisstreams.testing.chance import Chance

#: The columns of the stream: name, type as declared, and their values row by row as SQL literals.
COLUMNS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "k": ("VARCHAR", ("'a'", "'b'", "'a'", "NULL", "'b'", "'a'")),
    "b": ("BOOLEAN", ("true", "false", "NULL", "true", "true", "false")),
    "y": ("TINYINT", ("1", "-3", "NULL", "0", "127", "5")),
    "i": ("INTEGER", ("7", "NULL", "-2", "0", "7", "2147483647")),
    "n": ("BIGINT", ("10", "20", "NULL", "-4", "9007199254740993", "0")),
    "u": ("UBIGINT", ("1", "NULL", "3", "18446744073709551615", "0", "3")),
    "f": ("FLOAT", ("0.5", "-1.25", "NULL", "0", "3", "0.5")),
    "x": ("DOUBLE", ("1.5", "NULL", "-0.25", "0", "1000000.125", "2")),
    "d": ("DECIMAL(10,2)", ("1.05", "-20.00", "NULL", "0.00", "99999999.99", "1.05")),
    "s": ("VARCHAR", ("'x,y'", "'2024-01-02'", "''", "NULL", "'[1, 2]'", "'(ä''\"'")),
    "t": ("VARCHAR", ("'12'", "'%Y'", "'a b c'", "'{\"a\": 1}'", "NULL", "'12'")),
    "e": ("DATE", ("'2024-02-29'", "NULL", "'1999-12-31'", "'1970-01-01'", "'2024-02-29'", "'2030-06-15'")),
    "l": ("INTEGER[]", ("[3, 1, 2]", "[]", "NULL", "[NULL, 5]", "[1]", "[2, 2]")),
    "m": ("VARCHAR[]", ("['a', 'b']", "NULL", "['']", "[NULL]", "['a']", "[]")),
    "o": (
        "STRUCT(a INTEGER, c VARCHAR)",
        ("{'a': 1, 'c': 'z'}", "NULL", "{'a': NULL, 'c': ''}", "{'a': 2, 'c': NULL}", "{'a': 1, 'c': 'z'}", "NULL"),
    ),
    "ts": (
        "TIMESTAMP",
        tuple(
            f"'2024-03-01 00:0{minute}:{second:02}'"
            for minute, second in ((0, 1), (0, 9), (1, 0), (1, 59), (3, 0), (3, 1))
        ),
    ),
}
ROWS = 6

#: A literal of each spelling, by type.
LITERALS: Mapping[str, Sequence[str]] = {
    "BOOLEAN": ("true", "FALSE", "(1 = 2)", "'t'::BOOLEAN"),
    "TINYINT": ("1::TINYINT", "CAST('-7' AS TINYINT)"),
    "SMALLINT": ("300::SMALLINT", "(-1)::INT2"),
    "INTEGER": ("0", "1", "-1", "2", "1_000", "0x1F", "0b101", "2147483647"),
    "BIGINT": ("1", "3", "9223372036854775807", "-5", "5::BIGINT"),
    "HUGEINT": ("1::HUGEINT", "170141183460469231731687303715884105727", "CAST(-3 AS HUGEINT)"),
    "UTINYINT": ("200::UTINYINT", "1::UINT8"),
    "USMALLINT": ("2::USMALLINT",),
    "UINTEGER": ("7::UINTEGER", "7::UINT32"),
    "UBIGINT": ("9::UBIGINT",),
    "UHUGEINT": ("12::UHUGEINT",),
    "BIGNUM": ("12::BIGNUM", "'123456789012345678901234567890'::BIGNUM"),
    "FLOAT": ("1.5::FLOAT", "'nan'::FLOAT"),
    "DOUBLE": ("1e3", "2.5e-1", ".5e0", "0.5::DOUBLE", "'inf'::DOUBLE", "1.5E+2"),
    "DECIMAL": ("1.5", ".25", "10.", "1.05::DECIMAL(6,3)", "12345678901234567890.5", "-0.1"),
    "VARCHAR": (
        "'a'",
        "''",
        "'it''s'",
        "E'a\\nb'",
        "$$dollar$$",
        "'%d'",
        "'[0-9]+'",
        "'('",
        "'day'",
        "'2024-05-06 07:08:09'",
        "'$.a'",
        "'ä€👪'",
        "'a' 'b'",
        "','",
        "'UTC'",
        "'{\"a\": [1, 2]}'",
        "'%Y-%m-%d'",
        "'1'",
        "'a'::VARCHAR",
        "chr(10)",
    ),
    "BLOB": ("'\\x41'::BLOB", "'abc'::BYTEA", "x'4142'", "encode('ä')"),
    "BIT": ("'0101'::BIT", "b'1'::BIT", "'1'::BITSTRING"),
    "DATE": ("DATE '2024-01-31'", "'2023-03-01'::DATE", "CAST('1999-12-31' AS DATE)"),
    "TIME": ("TIME '12:34:56.789'", "'23:59:59'::TIME"),
    "TIME_NS": ("'12:34:56.123456'::TIME_NS",),
    "TIME WITH TIME ZONE": ("'12:00:00+02'::TIMETZ", "TIMETZ '01:02:03-05:30'"),
    "TIMESTAMP": (
        "TIMESTAMP '2024-01-31 12:00:00'",
        "'2020-02-29 01:02:03.5'::TIMESTAMP",
        "CAST('2000-01-01' AS DATETIME)",
    ),
    "TIMESTAMP_S": ("'2024-01-31 12:00:00'::TIMESTAMP_S",),
    "TIMESTAMP_MS": ("'2024-01-31 12:00:00.123'::TIMESTAMP_MS",),
    "TIMESTAMP_NS": ("'2024-01-31 12:00:00.123456'::TIMESTAMP_NS",),
    "TIMESTAMPTZ_NS": ("'2024-01-31 12:00:00.123456+01'::TIMESTAMPTZ_NS",),
    "TIMESTAMP WITH TIME ZONE": (
        "TIMESTAMPTZ '2024-01-31 12:00:00+02'",
        "'2020-02-29 01:02:03 UTC'::TIMESTAMPTZ",
        "TIMESTAMP WITH TIME ZONE '2021-01-01 00:00:00Z'",
    ),
    "INTERVAL": (
        "INTERVAL '1' DAY",
        "INTERVAL 3 MINUTES",
        "INTERVAL '1 month 2 days'",
        "INTERVAL (2) HOUR",
        "'5 seconds'::INTERVAL",
        "INTERVAL '01:02:03'",
        "to_hours(2)",
    ),
    "UUID": ("'00000000-0000-0000-0000-000000000001'::UUID", "UUID 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"),
    "JSON": ('\'{"a": [1, {"b": null}]}\'::JSON', "to_json([1, 2])", "JSON '[1]'", "json_object('k', 1)"),
    "VARIANT": ("1::VARIANT", "{'a': 1}::VARIANT"),
    "GEOMETRY": ("'POINT(1 2)'::GEOMETRY",),
    "ENUM": ("'a'::ENUM('a', 'b')",),
    "UNION": ("union_value(num := 1)", "1::UNION(num INTEGER, str VARCHAR)"),
    "STRUCT": ("{'a': 1, 'b': 'c'}", "struct_pack(a := 1)", "ROW(1, 'a')", "(1, 'z')", "{a: 1}"),
    "TUPLE": ("ROW(1, 2)", "(1, 2)"),
    "MAP": ("MAP {'a': 1}", "MAP {}", "map(['x'], [2])", "MAP {1: 'b', 2: NULL}"),
    "LIST": ("[1, 2]", "[]", "[NULL]", "['a', 'b']", "[[1], []]", "list_value(1, NULL)", "ARRAY[1, 2]", "range(3)"),
    "ARRAY": ("[1, 2, 3]::INTEGER[3]", "array_value(1.5, 2, 3)"),
}

#: Types under other names of the catalogue.
_SAME = {
    "ANY[]": "LIST",
    "T[]": "LIST",
    "T[][]": "LIST",
    "K[]": "LIST",
    "V[]": "LIST",
    "MAP(K, V)": "MAP",
    "ROW": "TUPLE",
}
_GENERIC = frozenset({"ANY", "T", "K", "V", "NULL", "INVALID", "TYPE", ""})
_ELEMENTS = {"FLOAT[ANY]": "ARRAY", "DOUBLE[ANY]": "ARRAY", "FLOAT[3]": "ARRAY", "DOUBLE[3]": "ARRAY"}
_LAMBDAS = ("x -> x", "lambda x: x", "x -> x IS NULL", "lambda x: x = x", "(x, y) -> x", "lambda x, y: y", "x -> i")

_CONDITIONS = (
    "b",
    "n > 1",
    "k = 'a'",
    "i IS NOT NULL",
    "x BETWEEN 0 AND 2",
    "s LIKE '%,%'",
    "k IN ('a', 'c')",
    "NOT b",
    "true",
)

_ORDERS = ("ts", "x DESC", "k, n", "i NULLS FIRST", "n DESC NULLS LAST")

#: Forms around values that are no functions, by the type that they give; `{…}` is a value of that type.
_FORMS: Mapping[str, Sequence[str]] = {
    "BOOLEAN": (
        "{ANY} IS NULL",
        "{ANY} IS NOT NULL",
        "NOT {BOOLEAN}",
        "{BOOLEAN} AND {BOOLEAN}",
        "{BOOLEAN} OR {BOOLEAN}",
        "{DOUBLE} BETWEEN {DOUBLE} AND {DOUBLE}",
        "{INTEGER} IN ({INTEGER}, {INTEGER})",
        "{VARCHAR} LIKE {VARCHAR}",
        "{VARCHAR} ILIKE {VARCHAR}",
        "{VARCHAR} LIKE {VARCHAR} ESCAPE {VARCHAR}",
        "{VARCHAR} SIMILAR TO {VARCHAR}",
        "{VARCHAR} NOT LIKE {VARCHAR}",
        "{VARCHAR} GLOB {VARCHAR}",
        "{BOOLEAN} IS TRUE",
        "{BOOLEAN} IS NOT FALSE",
        "{ANY} IS DISTINCT FROM {ANY}",
        "{INTEGER} NOT IN ({INTEGER}, NULL)",
        "{INTEGER} IN {LIST}",
        "{VARCHAR} SIMILAR TO {VARCHAR} ESCAPE {VARCHAR}",
        "{INTEGER} NOT BETWEEN {INTEGER} AND {BIGINT}",
        "{INTEGER} = ANY({LIST})",
        "{TIMESTAMP} >= {DATE}",
        "{VARCHAR} NOT SIMILAR TO {VARCHAR}",
        "{DOUBLE} < {VARCHAR}",
    ),
    "VARCHAR": (
        "{VARCHAR} || {VARCHAR}",
        "substring({VARCHAR} FROM 2 FOR 1)",
        "substring({VARCHAR}, 1, 2)",
        "trim(BOTH 'a' FROM {VARCHAR})",
        "{VARCHAR}[1]",
        "{VARCHAR}[1:2]",
        "{VARCHAR} COLLATE NOCASE",
        "{JSON}->>'a'",
        "{JSON}->>'$.a'",
        "o.c",
        "o['c']",
        "overlay({VARCHAR} PLACING 'z' FROM 1)",
        "upper({VARCHAR})",
        "trim({VARCHAR})",
        "TRIM(LEADING FROM {VARCHAR})",
        "CAST({ANY} AS VARCHAR)",
        "TRY_CAST({ANY} AS VARCHAR)",
        "{ANY}::TEXT",
    ),
    "INTEGER": (
        "o.a",
        "{LIST}[1]",
        "{LIST}[-1]",
        "position({VARCHAR} IN {VARCHAR})",
        "extract(day FROM {TIMESTAMP})",
        "extract('year' FROM {DATE})",
        "CAST({VARCHAR} AS INTEGER)",
        "TRY_CAST({VARCHAR} AS INTEGER)",
        "{DOUBLE}::INTEGER",
        "len({VARCHAR})",
        "-{INTEGER}",
        "+{INTEGER}",
        "~{INTEGER}",
        "{INTEGER} % {INTEGER}",
        "{INTEGER} // {INTEGER}",
        "l[1]",
        "{MAP}['a']",
        "date_part('hour', {TIMESTAMP})",
        "extract(epoch FROM {TIMESTAMP})",
        "l[i]",
    ),
    "BIGINT": (
        "{BIGINT} + {BIGINT}",
        "{BIGINT} * {INTEGER}",
        "{INTEGER} - {BIGINT}",
        "{BIGINT} << 2",
        "{DATE} - {DATE}",
    ),
    "DOUBLE": (
        "{DOUBLE} / {DOUBLE}",
        "{DOUBLE} ** 2",
        "{DOUBLE} ^ 2",
        "{INTEGER} / {INTEGER}",
        "-{DOUBLE}",
        "{BIGINT} + {DOUBLE}",
    ),
    "DECIMAL": (
        "{DECIMAL} + {DECIMAL}",
        "{DECIMAL} * {DECIMAL}",
        "-{DECIMAL}",
        "{VARCHAR}::DECIMAL(12,3)",
        "{DECIMAL} % 2",
        "({DECIMAL})::DECIMAL(38,0)",
    ),
    "DATE": ("{TIMESTAMP}::DATE", "{DATE} + 1", "CAST({VARCHAR} AS DATE)", "TRY_CAST({VARCHAR} AS DATE)"),
    "TIMESTAMP": (
        "{TIMESTAMP} + {INTERVAL}",
        "{DATE} + {TIME}",
        "{TIMESTAMP} - {INTERVAL}",
        "{TIMESTAMP WITH TIME ZONE} AT TIME ZONE 'UTC'",
        "TRY_CAST({VARCHAR} AS TIMESTAMP)",
        "date_trunc('hour', {TIMESTAMP})",
        "ts",
        "{DATE} + {INTERVAL}",
    ),
    "TIMESTAMP WITH TIME ZONE": ("{TIMESTAMP} AT TIME ZONE 'Europe/Zurich'", "{TIMESTAMP}::TIMESTAMPTZ"),
    "INTERVAL": (
        "{TIMESTAMP} - {TIMESTAMP}",
        "{INTERVAL} * {INTEGER}",
        "-{INTERVAL}",
        "{INTERVAL} + {INTERVAL}",
        "INTERVAL (i) DAY",
    ),
    "LIST": (
        "[{INTEGER}, {INTEGER}]",
        "[{VARCHAR}]",
        "{LIST}[1:2]",
        "{LIST}[2:]",
        "{LIST}[:-1]",
        "{LIST}[::2]",
        "{LIST} || {LIST}",
        "[x + 1 FOR x IN l]",
        "[x FOR x IN l IF x > 1]",
        "l",
        "m",
        "[{ANY}]",
        "list_transform(l, x -> x + i)",
        "list_filter(l, lambda x: x > 1)",
        "{LIST}[1:-1:2]",
    ),
    "STRUCT": (
        "{{'p': {ANY}, 'q': {ANY}}}",
        "o",
        "struct_pack(p := {ANY})",
        "ROW({ANY}, {ANY})",
        "({ANY}, {ANY})",
        "struct_insert(o, z := {ANY})",
    ),
    "MAP": (
        "MAP {{'a': {INTEGER}}}",
        "MAP {{{INTEGER}: {ANY}}}",
        "map([{ANY}], [{ANY}])",
        "map_from_entries([({INTEGER}, {VARCHAR})])",
    ),
    "JSON": (
        "{VARCHAR}::JSON",
        "to_json({ANY})",
        "{JSON}->'a'",
        "{JSON}->0",
        "json_array({ANY}, {ANY})",
        "json_object('k', {ANY})",
    ),
    "ENUM": ("k::ENUM('a', 'b')",),
    "UUID": ("md5({VARCHAR})::UUID",),
    "BLOB": ("{VARCHAR}::BLOB", "encode({VARCHAR})"),
    "BIT": ("{INTEGER}::BIT", "{BIT} & {BIT}"),
    "HUGEINT": ("{BIGINT}::HUGEINT", "{HUGEINT} + {BIGINT}"),
    "TIME": ("{TIMESTAMP}::TIME", "{TIME} + {INTERVAL}"),
}


@dataclass(frozen=True)
class Function:
    """One overload of the catalogue; `varargs` is the type of any number of further arguments."""

    name: str
    parameters: tuple[str, ...]
    varargs: str | None


@cache
def catalogue() -> tuple[Mapping[str, Sequence[Function]], Mapping[str, Sequence[Function]]]:
    """The scalar functions (macros and operators too) and the aggregates that the engine lists, by name."""
    found: tuple[dict[str, list[Function]], dict[str, list[Function]]] = ({}, {})
    with duckdb.connect() as con:
        rows = con.execute(
            "SELECT function_name, function_type, parameter_types, varargs FROM duckdb_functions() WHERE function_type"
            " IN ('scalar', 'aggregate', 'macro', 'window') ORDER BY ALL"
        ).fetchall()
    for name, kind, parameters, varargs in rows:
        types = tuple(str(parameter or "ANY") for parameter in parameters)
        found[kind == "aggregate"].setdefault(str(name), []).append(Function(str(name), types, varargs))
    return found


#: Functions of which there are very many of one kind are drawn together as often as another one is alone.
_CROWDS = ("icu_collate_", "collate_", "__internal", "pg_", "has_", "json_serialize")


def _slots(names: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    slots: dict[str, list[str]] = {}
    for name in names:
        slots.setdefault(next((crowd for crowd in _CROWDS if name.startswith(crowd)), name), []).append(name)
    return tuple(map(tuple, slots.values()))


class Expressions:
    """Draws expressions as SQL text."""

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        scalars, aggregates = catalogue()
        self._scalars = (scalars, _slots(scalars))
        self._aggregates = (aggregates, _slots(aggregates))

    def scalar(self) -> str:
        """An expression over the columns."""
        match self._chance.below(10):
            case 0:
                return self._form(self._chance.pick(tuple(_FORMS)), 2)
            case 1:
                return self._wrapped(self.value("ANY", 2))
            case _:
                return self._call(self._scalars, 2)

    def aggregate(self) -> str:
        """An expression with aggregates over the columns."""
        call = self._aggregate_call()
        match self._chance.below(8):
            case 0:
                return f"{call}[1]"
            case 1:
                return f"{call}[1:2]"
            case 2:
                return self._wrapped(call)
            case 3:
                return f"coalesce({call}, {self._aggregate_call()})"
            case _:
                return call

    def value(self, type_: str, depth: int) -> str:
        """A value of a type of the catalogue, as far as it can be told."""
        type_ = _ELEMENTS.get(type_, _SAME.get(type_, type_))
        if type_.endswith("[]"):
            type_ = "LIST"
        if type_.startswith("STRUCT("):
            type_ = "STRUCT"
        if type_ == "LAMBDA":
            return self._chance.pick(_LAMBDAS)
        if type_ in _GENERIC or type_ not in LITERALS:
            type_ = self._chance.pick(tuple(LITERALS))
        match self._chance.below(12):
            case 0:
                return self._chance.pick(("NULL", f"NULL::{_cast_name(type_)}", "(NULL)"))
            case 1 | 2 | 3:
                return self._chance.pick(LITERALS[type_])
            case 4 | 5 if depth > 0:
                return self._form(type_, depth - 1)
            case 6 if depth > 0:
                return self._call(self._scalars, depth - 1)
            case 7 if depth > 0:
                return self._wrapped(self.value(type_, depth - 1))
            case _:
                return self._column(type_) or self._chance.pick(LITERALS[type_])

    def _column(self, type_: str) -> str | None:
        names = [name for name, (kind, _) in COLUMNS.items() if _base(kind) == type_]
        return self._chance.pick(names) if names else None

    def _form(self, type_: str, depth: int) -> str:
        forms = _FORMS.get(type_)
        if forms is None:
            return self._chance.pick(LITERALS[type_])
        return self._filled(self._chance.pick(forms), lambda kind: self.value(kind, depth))

    def _filled(self, form: str, value: Callable[[str], str]) -> str:
        text = form.replace("{{", "\0").replace("}}", "\1")
        text = re.sub(r"\{([A-Z_ ]+)\}", lambda found: _grouped(value(found[1])), text)
        return text.replace("\0", "{").replace("\1", "}")

    def _wrapped(self, value: str) -> str:
        forms = (
            "CASE WHEN {0} THEN {1} END",
            "CASE WHEN {0} THEN {1} ELSE NULL END",
            "coalesce({1}, {1})",
            "({1})",
            "TRY({1})",
            "CASE k WHEN 'a' THEN {1} WHEN 'b' THEN NULL ELSE {1} END",
            "nullif({1}, {1})",
            "ifnull({1}, {1})",
            "{1}::VARCHAR",
            "CAST({1} AS VARCHAR)",
            "TRY_CAST({1} AS DOUBLE)",
            "[{1}]",
            "{{'v': {1}}}",
            "{1} IS NULL",
            "typeof({1})",
            "if({0}, {1}, {1})",
        )
        return self._chance.pick(forms).format(self._chance.pick(_CONDITIONS), _grouped(value))

    def _call(self, catalogue_: tuple[Mapping[str, Sequence[Function]], Sequence[Sequence[str]]], depth: int) -> str:
        functions, slots = catalogue_
        function = self._chance.pick(functions[self._chance.pick(self._chance.pick(slots))])
        arguments = [self.value(kind, depth) for kind in function.parameters]
        if function.varargs is not None:
            arguments += [self.value(function.varargs, depth) for _ in range(self._chance.below(3))]
        return _written(function.name, arguments)

    def _aggregate_call(self) -> str:
        return self.call_of(self._chance.pick(self._chance.pick(self._aggregates[1])))

    def call_of(self, name: str) -> str:
        """A call of this aggregate."""
        function = self._chance.pick(self._aggregates[0][name])
        arguments = [self.value(kind, 1) for kind in function.parameters]
        inside = ", ".join(arguments)
        if not arguments and function.name == "count":
            return "count(*)"
        if arguments and self._chance.below(5) == 0:
            inside = f"DISTINCT {inside}"
        if arguments and self._chance.below(4) == 0:
            inside += f" ORDER BY {self._chance.pick((*_ORDERS, arguments[0]))}"
        call = f"{function.name}({inside})"
        if self._chance.below(4) == 0:
            call += f" FILTER (WHERE {self._chance.pick(_CONDITIONS)})"
        return call


def _written(name: str, arguments: Sequence[str]) -> str:
    """The call; an operator between or in front of its operands."""
    if re.fullmatch(r"[a-z_][a-z0-9_]*", name, re.I):
        return f"{name}({', '.join(arguments)})"
    if name == "!__postfix":
        return f"{_grouped(arguments[0])} !"
    if len(arguments) == 2:
        return f"{_grouped(arguments[0])} {name} {_grouped(arguments[1])}"
    if len(arguments) == 1:
        return f"{name} {_grouped(arguments[0])}"
    return f'"{name}"({", ".join(arguments)})'


def _grouped(value: str) -> str:
    return value if re.fullmatch(r"[\w.]+|'[^']*'|\w+\([^()]*\)", value) else f"({value})"


def _base(type_: str) -> str:
    if type_.endswith("[]"):
        return "LIST"
    return type_.split("(")[0]


def _cast_name(type_: str) -> str:
    """A type that a cast can name, for one of the catalogue."""
    names = {
        "LIST": "INTEGER[]",
        "ARRAY": "INTEGER[3]",
        "MAP": "MAP(VARCHAR, INTEGER)",
        "STRUCT": "STRUCT(a INTEGER)",
        "TUPLE": "STRUCT(a INTEGER)",
        "ENUM": "ENUM('a', 'b')",
        "UNION": "UNION(num INTEGER)",
        "DECIMAL": "DECIMAL(10,2)",
    }
    return names.get(type_, type_)
