"""Runs a case under one schedule, in this process: plan, records, crashes, and what came out."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from ferrisstreams.batch import JsonValue
from ferrisstreams.clock import ManualClock
from ferrisstreams.config.values import Property
from ferrisstreams.errors import FerrisError, SqlError
from ferrisstreams.plan.nodes import JobPlan, Join
from ferrisstreams.plan.stages import cut
from ferrisstreams.runtime.environment import Environment, StandIns
from ferrisstreams.runtime.faults import Crash, CrashAt, Faults, NoFaults
from ferrisstreams.runtime.job import Job, JobResult
from ferrisstreams.sql.application import parse_application
from ferrisstreams.testing.case import Case, RawRecords, StreamInput
from ferrisstreams.testing.case_records import records_of
from ferrisstreams.testing.doubles import CollectingSink, Records, RecordSource, TransactionalSink, TransactionLog
from ferrisstreams.testing.schedules import Schedule

#: When cases happen, unless they say otherwise: 2024-01-01T00:00:00Z.
_START_US = 1_704_067_200_000_000

_WITH = re.compile(r"\bWITH\s*\(", re.I)
_TOPIC = re.compile(r"'connector'\s*=\s*'kafka'", re.I)


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter: what a case can say about it."""

    stage: str
    code: str
    value: str
    partition: str
    message: str

    def field(self, name: str) -> str | None:
        """The value under a column's name; None for a name that it does not have."""
        return {
            "stage": self.stage,
            "code": self.code,
            "value": self.value,
            "partition": self.partition,
            "message": self.message,
        }.get(name)


@dataclass(frozen=True, slots=True)
class Ran:
    """What a schedule gave. `rows` are in the order in which they were written."""

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    ledger: Mapping[str, int]
    letters: tuple[Letter, ...]
    error: FerrisError | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A case whose plan is made. `streams` are the records of each stream that it reads, by name.

    `changes` says that output is corrected later, by `key` when it has one.
    """

    case: Case
    plan: JobPlan
    streams: Mapping[str, Records]
    changes: bool
    key: tuple[str, ...] | None
    ordered: bool

    @property
    def records(self) -> Records:
        """Those of the only stream."""
        (records,) = self.streams.values()
        return records

    @property
    def partitions(self) -> int:
        return sum(len(records.partitions) for records in self.streams.values())


def prepare(case: Case) -> Prepared:
    """Parse and bind the case's query. Raises FerrisError."""
    plan = _job(case)
    graph = cut(plan.plan)
    streams = {
        source.name: records_of(next(each for each in case.streams if _same_name(each.name, source.name)), source)
        for source in graph.sources
    }
    update = case.settings.get("late.data.strategy") == "update"
    changes = plan.plan.facts.changes or (update and any(each.window is not None for each in graph.aggregates))
    joins = any(isinstance(operator.node, Join) for operator in graph.operators)
    return Prepared(
        case=case,
        plan=plan,
        streams=streams,
        changes=changes,
        key=plan.plan.facts.key,
        ordered=len(graph.outputs) == 1
        and not joins
        and (graph.keeps_state or sum(len(records.partitions) for records in streams.values()) < 2),
    )


def execute(prepared: Prepared, schedule: Schedule, first: Records | None = None) -> Ran:
    """Run the case, crash by crash, to the end. An error of the job is in the result.

    With `first` the job ends once with these records alone (each partition a beginning of the case's), and then goes
    on with all of them.
    """
    sink, letters, log = _sinks(schedule)
    clock = ManualClock(_START_US)
    with TemporaryDirectory(prefix="ferris-test-") as folder:
        environment = Environment(
            application="test",
            folder=Path(folder),
            state_root=Path(folder) if schedule.durable or first is not None else None,
            overrides=_overrides(prepared.case, schedule),
            clock=clock,
            sizes=schedule.sizes,
            stand_ins=StandIns(
                source=lambda name, block: RecordSource(prepared.streams[name], schedule.cuts, block, clock),
                sink=sink,
                dead_letters=letters,
                transactions=log,
            ),
        )
        faults: list[Faults] = [*(CrashAt(crash.point, crash.hit) for crash in schedule.crashes), NoFaults()]
        try:
            if first is not None:
                _to_the_end(prepared.plan, _with_records(environment, first, schedule, clock), [NoFaults()])
            result = _to_the_end(prepared.plan, environment, faults)
        except FerrisError as error:
            return Ran((), (), {}, (), error)
    rows = tuple(row for table in sink.tables for row in zip(*(c.to_pylist() for c in table.columns), strict=True))
    return Ran(
        columns=_columns(prepared, sink),
        rows=rows,
        ledger=result.ledger.as_dict(),
        letters=tuple(_letter(json.loads(line)) for line in letters.lines),
        error=result.error,
    )


def _sinks(schedule: Schedule) -> tuple[CollectingSink, CollectingSink, TransactionLog | None]:
    if not schedule.transactional:
        return CollectingSink(), CollectingSink(), None
    sink, letters = TransactionalSink(), TransactionalSink()
    return sink, letters, TransactionLog(sink, letters)


def _with_records(environment: Environment, records: Records, schedule: Schedule, clock: ManualClock) -> Environment:
    """The same surroundings with other records."""
    stand_ins = environment.stand_ins
    assert stand_ins is not None
    source = replace(stand_ins, source=lambda _, block: RecordSource(records, schedule.cuts, block, clock))
    return replace(environment, stand_ins=source)


def _to_the_end(plan: JobPlan, environment: Environment, faults: list[Faults]) -> JobResult:
    """Each run ends by its crash, or, when it does not come to it, at the end of the input."""
    for fault in faults[:-1]:
        try:
            return Job(plan, replace(environment, faults=fault)).run()
        except Crash:
            continue
    return Job(plan, replace(environment, faults=faults[-1])).run()


def _columns(prepared: Prepared, sink: CollectingSink) -> tuple[str, ...]:
    tables = sink.tables
    return tuple(tables[0].column_names) if tables else prepared.plan.plan.schema.names


# -- the plan


def text_of(case: Case) -> str:
    """The application of a case: its streams and its query."""
    declared = [f"CREATE STREAM {_declaration(stream)};\n" for stream in case.streams]
    return "".join(declared) + case.query


def _job(case: Case) -> JobPlan:
    plan = parse_application(text_of(case), str(case.path))
    if len(plan.jobs) != 1:
        raise SqlError(f"a case has one job, this one has {len(plan.jobs)}", "E1209", "write a case for each job")
    job = plan.jobs[0]
    spec = job.plan.spec
    if spec.limit is not None:
        raise SqlError(
            "LIMIT takes the rows that come first, and which these are depends on the batches", "E1209", "leave it out"
        )
    memory = {"connector": Property("memory")}
    spec = replace(spec, properties={**spec.properties, **memory}, anonymous=False)
    return replace(job, plan=replace(job.plan, spec=spec))


def _declaration(stream: StreamInput) -> str:
    """The declaration with a connector and the format of its records, where it names none."""
    given = [f"'{name}' = '{value}'" for name, value in _defaults(stream) if f"'{name}'" not in stream.declaration]
    text, count = _WITH.subn(f"WITH ({', '.join(given)}, ", stream.declaration, count=1)
    return text if count else f"{text} WITH ({', '.join(given)})"


def _defaults(stream: StreamInput) -> list[tuple[str, str]]:
    raw = [content.format for content in stream.partitions.values() if isinstance(content, RawRecords)]
    place = [] if _TOPIC.search(stream.declaration) else [("connector", "file"), ("path", "records")]
    return [*place, ("format", raw[0] if raw else "json")]


def _overrides(case: Case, schedule: Schedule) -> dict[str, Property]:
    given = {**schedule.settings, **case.settings}
    return {name: Property(value, origin="with") for name, value in given.items()}


def _same_name(one: str, other: str) -> bool:
    return one.strip('"').lower() == other.lower()


def _letter(line: Mapping[str, JsonValue]) -> Letter:
    headers = line["headers"]
    assert isinstance(headers, dict)
    return Letter(
        stage=str(headers["ferris.stage"]),
        code=str(headers["ferris.code"]),
        value=base64.b64decode(str(line["value"])).decode("utf-8", "backslashreplace"),
        partition=str(headers["__connect.errors.topic"]),
        message=str(headers["__connect.errors.exception.message"]),
    )
