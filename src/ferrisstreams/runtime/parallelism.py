"""Which jobs may have several workers.

Each worker is a task of its own over a share of the topic's partitions. That gives the answer of one task when no two
workers ever hold a part of the same result: a plan without state, or one that groups by what the topic is partitioned
by. Nobody can see by which columns a topic is partitioned (records without a key are spread over all partitions), so
that only `_partition` is known to be fine; of all others the user says so, by `partitioned.by`.
"""

from __future__ import annotations

import difflib

from ferrisstreams.config.resolve import Settings
from ferrisstreams.errors import ConfigError
from ferrisstreams.plan.expressions import column_name
from ferrisstreams.plan.nodes import Aggregate, JobPlan, SourceSpec
from ferrisstreams.plan.stages import cut
from ferrisstreams.runtime.settings import JobSettings

_PARTITION = "_partition"
_KEY = "_key"


def partitioning_columns(settings: Settings, source: SourceSpec) -> tuple[str, ...]:
    """The columns of `partitioned.by`, as the source names them. Raises ConfigError E3002."""
    prop = settings.property("partitioned.by")
    if prop is None:
        return ()
    known = {column.name.lower(): column.name for column in source.schema} | {_KEY: _KEY}
    found = []
    for written in str(prop.value).split(","):
        name = written.strip()
        if name.lower() not in known:
            near = difflib.get_close_matches(name.lower(), known, n=1)
            raise ConfigError(
                f"'partitioned.by': the source {source.name} has no column '{name}'",
                "E3002",
                f"did you mean '{known[near[0]]}'?" if near else f"its columns are {', '.join(known.values())}",
                prop.position,
            )
        found.append(known[name.lower()])
    return tuple(found)


def depends_on_partitions(plan: JobPlan) -> bool:
    """Whether the state of several workers is right only as long as the topic keeps its partitions."""
    return cut(plan.plan).keeps_state and _PARTITION not in _grouped(plan)


def check_parallelism(plan: JobPlan, settings: JobSettings, letters_in_file: bool) -> None:
    """Raises ConfigError E3006 where a job cannot have as many workers as `parallelism` says."""
    workers = settings.job.integer("parallelism")
    found = [partitioning_columns(source.values, source.spec) for source in settings.sources]
    reason = _sources(settings) or _outside(settings, letters_in_file) or _state(plan, found[0])
    if workers == 1 or reason is None:
        return
    prop = settings.job.property("parallelism")
    position = prop.position if prop is not None else None
    raise ConfigError(
        f"{plan.name} cannot have {workers} workers ('parallelism'): {reason[0]}",
        "E3006",
        reason[1],
        position or plan.position,
    )


def _sources(settings: JobSettings) -> tuple[str, str] | None:
    if len(settings.sources) == 1:
        return None
    names = ", ".join(source.spec.name for source in settings.sources)
    return f"workers share the partitions of one topic, and it reads {names}", "leave 'parallelism' out"


def _outside(settings: JobSettings, letters_in_file: bool) -> tuple[str, str] | None:
    """Why source and sink do not allow it, and what to do."""
    if not settings.source_connector.messages:
        return (
            f"they share the partitions of a topic, and its source is {settings.source_connector}",
            "leave 'parallelism' out, or read a topic",
        )
    if not settings.sink_connector.several_writers:
        return (
            f"several processes cannot write to one sink of the connector {settings.sink_connector}",
            "leave 'parallelism' out, or write to a topic",
        )
    if letters_in_file:
        return (
            "several processes cannot write to one file of dead letters",
            "write to a topic, and leave 'dlq.path' out: then dead letters go to a topic too",
        )
    return None


def _state(plan: JobPlan, partitioned: tuple[str, ...]) -> tuple[str, str] | None:
    """Why the plan does not allow it, and what to do."""
    grouped = _grouped(plan)
    graph = cut(plan.plan)
    if not graph.keeps_state or _PARTITION in grouped:
        return None
    if any(not isinstance(operator.node, Aggregate) for operator in graph.operators):
        return "it joins, or keeps a table", "leave 'parallelism' out"
    if not partitioned:
        return (
            "it keeps state, and rows of one group may be in partitions of several workers",
            "if the topic is partitioned by columns that the query groups by, say so at the source:"
            " 'partitioned.by' = 'column' (or group by _partition too); else leave 'parallelism' out",
        )
    missing = [name for name in partitioned if name not in grouped]
    if missing:
        return (
            f"the topic is partitioned by {', '.join(partitioned)}, and the query does not group by"
            f" {', '.join(missing)}: rows of one group may be in partitions of several workers",
            f"group by {', '.join(missing)} too, or leave 'parallelism' out",
        )
    return None


def _grouped(plan: JobPlan) -> frozenset[str]:
    """The columns of the source that are keys of all groups of the plan, as they are."""
    given: dict[str, str] = {}
    for level, operator in enumerate(cut(plan.plan).operators):
        if not isinstance(operator.node, Aggregate):
            return frozenset()
        read = {key.name: column_name(key.expression) for key in operator.node.keys}
        given = {name: given.get(of, "") if level else of for name, of in read.items() if of is not None}
    return frozenset(given.values()) - {""}
