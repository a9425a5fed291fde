"""State that was lost, made again: the topic is replayed up to what is committed outside, and nothing is written.

The rows that the replay would have written are counted: they must be as many as the sink's topic holds. Otherwise it
has not taken the same decisions as the runs before, and its state is given up.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from ferrisstreams.batch import JsonValue, Positions
from ferrisstreams.config.values import Property
from ferrisstreams.connectors.blackhole import BlackholeSink
from ferrisstreams.connectors.kafka.settings import kafka_source_settings
from ferrisstreams.connectors.kafka.source import KafkaSource
from ferrisstreams.errors import InternalError, StateError
from ferrisstreams.plan.nodes import Emit, JobPlan
from ferrisstreams.plan.stages import cut
from ferrisstreams.runtime.build import JobBuilder
from ferrisstreams.runtime.environment import Environment, StandIns
from ferrisstreams.runtime.epoch import EpochRow
from ferrisstreams.runtime.job import Job
from ferrisstreams.runtime.layout import read_layout
from ferrisstreams.runtime.observer import Observer
from ferrisstreams.runtime.reconcile import Token, newest
from ferrisstreams.session.application import Application, RunOptions
from ferrisstreams.session.audit_topics import count_sink
from ferrisstreams.session.outside import committed
from ferrisstreams.session.state import builder_of, open_state


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was done: the last epoch, and how many records were read again."""

    job: str
    epoch: int
    rows: int


#: Marks of sinks whose topics are counted from their beginning.
_FROM_THE_START: Mapping[str, JsonValue] = {"sink": {"since": {}}, "dead_letters": {"since": {}}}


def rebuild(application: Application, options: RunOptions, plan: JobPlan, observer: Observer) -> Rebuilt:
    """Make the state of a job again. Raises StateError E5003 where that cannot be done, or there is a state."""
    with builder_of(application, options, plan) as builder:
        _refuse_several_workers(builder)
        folder = builder.state_folder()
        if folder.exists() and _holds_epochs(builder):
            raise _impossible(
                plan, f"there is a state at {folder}", "look at it with `ferris state show`, or delete it"
            )
        for reason in _reasons(builder):
            raise _impossible(plan, reason)
        outside = committed(builder)
        token = newest(found.metadata for found in outside.values())
        if token is None:
            raise _impossible(plan, "nothing of it is committed outside", "run it: it starts from the beginning")
        ends = {int(name.rpartition("-")[2]): found.offset for name, found in outside.items()}
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".rebuild-") as made:
            replay = _Replay(builder, replace(application.environment(options, observer), overwrite=False), made, ends)
            try:
                rows = replay.run(token)
            finally:
                replay.close()
            if folder.exists():
                shutil.rmtree(folder)
            shutil.move(replay.folder, folder)
        return Rebuilt(plan.name, token.epoch, rows)


def _holds_epochs(builder: JobBuilder) -> bool:
    """A start that was refused leaves a state without any."""
    with open_state(builder) as state:
        return state.last is not None


def _refuse_several_workers(builder: JobBuilder) -> None:
    """What one replay makes is the state of one worker."""
    layout = read_layout(builder.job_folder())
    workers = max(builder.parallelism, layout.workers if layout is not None else 1)
    if workers > 1:
        raise _impossible(
            builder.plan,
            f"it is of {workers} workers ('parallelism'), of which each has its own state",
            "bring the state folder back, or start over with `ferris state reset`",
        )


def _reasons(builder: JobBuilder) -> Iterator[str]:
    """Why a replay would not make the same state."""
    settings, plan = builder.settings, builder.plan
    if len(builder.sources) > 1:
        yield "it reads several sources, and in which order their records came is not known"
        return
    if not settings.source_connector.messages or builder.transactions() is None:
        yield "its epochs are not decided by the Kafka cluster that it reads"
    elif not settings.sink_connector.messages:
        yield "its rows are in a file"
    if plan.outside_law:
        yield f"its result depends on {', '.join(plan.outside_law)}"
    if settings.source.optional_number("watermark.idle_timeout") is not None:
        yield "its result depends on which partitions were idle (watermark.idle_timeout)"
    if settings.source.optional_number("watermark.max_ahead") is not None:
        yield "its result depends on the time of each record's arrival (watermark.max_ahead)"
    if settings.source.text("late.data.strategy") == "update":
        yield "its result depends on when late rows came (late.data.strategy = update)"
    if builder.needs_dead_letters and builder.dead_letter_topic() is None:
        yield "its dead letters are in a file"
    if settings.source_connector.messages and kafka_source_settings(builder.source_context()).startup.mode == "latest":
        yield "where it began is not known ('startup' = 'latest')"


class _Replayed(KafkaSource):
    """The job's topic. Positions of a replay are nobody's: committed, they would replace the token."""

    def commit(self, positions: Positions) -> None:
        pass


class _Replay:
    """The job over the topic up to `ends`, with its state in the folder `made` and its outputs held back."""

    def __init__(self, builder: JobBuilder, environment: Environment, made: str, ends: Mapping[int, int]) -> None:
        settings = replace(kafka_source_settings(builder.source_context()), bounded=True, ends=ends)
        clock = environment.clock
        held_back = StandIns(lambda _, block: _Replayed(settings, block, clock), BlackholeSink(), BlackholeSink())
        overrides = {**environment.overrides, "state.dir": Property(made, origin="rebuild")}
        self._builder = builder
        self._environment = replace(environment, stand_ins=held_back, overrides=overrides)
        self._replica = JobBuilder(builder.plan, self._environment)
        self.folder = self._replica.state_folder()

    def close(self) -> None:
        self._replica.close()

    def run(self, token: Token) -> int:
        """Replay, check, and give the state its identity; how many records were read."""
        plan = self._builder.plan
        ledger = self._read_to(the_end=False)
        expected = count_sink(self._builder, self._last()).records
        if not _depends_on_cuts(plan) and ledger["written"] != expected:
            # The last run has drained: all windows were closed, and so are these.
            ledger = self._read_to(the_end=True)
            if ledger["written"] != expected:
                what = f"the replay makes {ledger['written']} rows, but the topic holds {expected} of the job"
                raise _impossible(plan, what)
        self._take_identity(token, expected)
        return ledger["read"]

    def _read_to(self, the_end: bool) -> dict[str, int]:
        """The ledger after all records; `the_end` also closes what is open."""
        job = Job(self._builder.plan, self._environment)
        try:
            job.open()
            while job.task.run_once():
                pass
            if not the_end:
                job.stop()
            job.task.run()
            return job.progress.ledger.as_dict()
        finally:
            job.close()

    def _last(self) -> EpochRow:
        """The last epoch, with the marks of topics that are counted from their beginning."""
        with open_state(self._replica) as state:
            if state.last is None:
                raise InternalError("a replay without an epoch")
            return replace(state.last, marks=_FROM_THE_START)

    def _take_identity(self, token: Token, written: int) -> None:
        """The replayed state becomes that of the token, with the rows that the topic holds."""
        row = self._last()
        ledger = replace(row.ledger, written=written, produced=written + row.ledger.output_rejected)
        with open_state(self._replica) as state:
            state.store.become(token.state_id, replace(row, epoch=token.epoch, ledger=ledger, confirmed=True))


def _depends_on_cuts(plan: JobPlan) -> bool:
    """How many changes are written depends on how records came in batches; the state does not."""
    return any(aggregate.emit is Emit.CHANGES for aggregate in cut(plan.plan).aggregates)


def _impossible(plan: JobPlan, why: str, hint: str = "`ferris state reset` lets it start over") -> StateError:
    return StateError(f"the state of {plan.name} cannot be rebuilt: {why}", "E5003", hint)
