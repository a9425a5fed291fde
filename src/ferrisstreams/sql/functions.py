"""Which functions user SQL may call, what kind they are, and which depend on the clock or on chance.

The rule allows: a function is callable when DuckDB lists it as scalar or aggregate (or as a macro of such) and it is
not one of the few below that look outside the row. Everything else is refused, table functions altogether.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import TypeAlias

from ferrisstreams.duck.engine import ENGINE_VERSION, Connection


class Kind(Enum):
    SCALAR = "scalar"
    AGGREGATE = "aggregate"
    WINDOW = "window"
    SET = "set"
    REFUSED = "refused"


#: Scalars that read the session, the catalog, settings or sequences, wait, write, or show DuckDB's insides.
_REFUSED = re.compile(
    r"""__.* | pg_.* | has_.*_privilege | has_foreign_data_wrapper_privilege | inet_(client|server)_.*
      | (duckdb|pragma)_.*
      | current_(setting|query|query_id|connection_id|transaction_id|database|schema|schemas|catalog|user|role)
      | getenv | getvariable | setvariable | set_config | nextval | currval | setval | setseed | sleep_ms | write_log
      | stats | vector_type | txid_current | in_search_path | session_user | user | version | index_key | invoke
      | get_block_size | (col|obj|shobj)_description | map_to_pg_oid | json_(serialize|deserialize|execute)_.*
      | alias | parse_duckdb_log_message
      | create_sort_key | icu_sort_key | variant_bytes_to_variant | (get|make)_type""",
    re.VERBOSE,
)

#: Macros over aggregates: each is an aggregate to the author.
_AGGREGATE_MACROS = frozenset(
    {
        "geomean", "geometric_mean", "json_group_array", "json_group_object", "json_group_structure",
        "variant_group_array", "wavg", "weighted_avg",
    }
)  # fmt: skip

#: Functions that take lambdas.
TAKES_LAMBDA = frozenset(
    {
        "apply", "array_apply", "array_filter", "array_reduce", "array_transform", "filter", "invoke", "list_apply",
        "list_filter", "list_reduce", "list_transform", "reduce",
    }
)  # fmt: skip

#: Functions that make several rows of one.
_SETS = frozenset({"unnest", "generate_subscripts", "regexp_split_to_table"})

#: Functions of the clock that DuckDB does not mark as such.
_CLOCK = frozenset(
    {"ago", "current_date", "current_time", "current_timestamp", "current_localtime", "current_localtimestamp",
     "localtime", "localtimestamp"}
)  # fmt: skip

#: Marked as volatile only so that it is not folded: it fails where it is reached, and must not be moved.
_FAILS = "error"

#: Aggregates of our own, which go by a row's place in its partition, and the engine's that have the same types.
BY_OFFSET = {"latest_by_offset": "last", "earliest_by_offset": "first"}

APPROXIMATE = frozenset({"approx_count_distinct", "approx_quantile", "approx_top_k", "reservoir_quantile"})


@dataclass(frozen=True, slots=True)
class Functions:
    """The functions that there are, by lower-case name."""

    kinds: dict[str, Kind]
    volatile: frozenset[str]

    def kind(self, name: str) -> Kind | None:
        """None when no function has this name."""
        if _REFUSED.fullmatch(name):
            return Kind.REFUSED
        return self.kinds.get(name)

    def is_volatile(self, name: str, arguments: int) -> bool:
        """True when the value depends on the clock or on chance. `age` of one argument counts from today."""
        return name in self.volatile or (name == "age" and arguments == 1)

    def near(self, name: str) -> str | None:
        found = get_close_matches(name, [n for n in self.kinds if self.kind(n) is not Kind.REFUSED], 1, 0.7)
        return found[0] if found else None


#: Names by what the engine says that they are.
Listed: TypeAlias = Mapping[str, Iterable[str]]

#: The list of one version of the engine, made by `make docs`: asking for it costs 25 ms of each start.
LIST = Path(__file__).with_name("engine_functions.json")

_LOADED: list[Functions] = []


def load_functions(connection: Connection) -> Functions:
    """The functions of the DuckDB behind `connection`; a process finds them out once."""
    if not _LOADED:
        _LOADED.append(find_functions(connection, ENGINE_VERSION))
    return _LOADED[0]


def find_functions(connection: Connection, version: str) -> Functions:
    """From the list, where it is of this version of the engine; otherwise the engine is asked."""
    found = json.loads(LIST.read_text("utf-8"))
    return _functions(found["functions"] if found["version"] == version else ask_functions(connection))


def ask_functions(connection: Connection) -> Listed:
    """Those that the engine says it has."""
    found: dict[str, list[str]] = {}
    rows = connection.rows(
        "SELECT DISTINCT lower(function_name), CASE WHEN contains(macro_definition, '(SELECT ') THEN 'query'"
        " WHEN function_type = 'scalar' AND stability <> 'CONSISTENT' THEN 'volatile'"
        " ELSE function_type END FROM duckdb_functions() ORDER BY ALL"
    )
    for name, kind in rows:
        found.setdefault(str(kind), []).append(str(name))
    return found


def _functions(listed: Listed) -> Functions:
    kinds: dict[str, Kind] = dict.fromkeys(_CLOCK, Kind.SCALAR)
    volatile = set(_CLOCK)
    order = {"macro": 1, "scalar": 2, "volatile": 2, "window": 3, "aggregate": 4}
    for kind in sorted(listed, key=lambda kind: order.get(kind, 0)):
        for name in listed[kind]:
            if re.fullmatch(r"[a-z_][a-z0-9_]*", name):
                kinds[name] = _kind(name, kind)
                if kind == "volatile" and name != _FAILS:
                    volatile.add(name)
    kinds.update(dict.fromkeys(_SETS, Kind.SET))
    kinds.update(dict.fromkeys(("coalesce", "ifnull", "try", "percentile_cont", "percentile_disc"), Kind.SCALAR))
    kinds.update(dict.fromkeys(("percentile_cont", "percentile_disc", *BY_OFFSET), Kind.AGGREGATE))
    return Functions(kinds, frozenset(volatile))


def _kind(name: str, kind: str) -> Kind:
    match kind:
        case "scalar" | "volatile":
            return Kind.SCALAR
        case "aggregate":
            return Kind.AGGREGATE
        case "window":
            return Kind.WINDOW
        case "macro":
            return Kind.AGGREGATE if name in _AGGREGATE_MACROS else Kind.SCALAR
        case _:
            return Kind.REFUSED
