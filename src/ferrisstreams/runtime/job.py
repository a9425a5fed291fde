"""A job: built, recovered, run, and its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from glob import has_magic
from typing import cast

from ferrisstreams.batch import JsonValue, Positions
from ferrisstreams.connectors.base import Transactions
from ferrisstreams.connectors.file import absolute
from ferrisstreams.duck.engine import Engine
from ferrisstreams.duck.scratch import memory_engine, scratch_engine
from ferrisstreams.errors import ConnectorError, FerrisError, as_ferris_error, noted_on
from ferrisstreams.plan.bounds import Growth
from ferrisstreams.plan.nodes import JobPlan
from ferrisstreams.runtime.build import JobBuilder
from ferrisstreams.runtime.commit import OPENING_EPOCH, Commit, CommitParts, CommitPolicy, Progress
from ferrisstreams.runtime.deadletter import ConsecutiveLimit
from ferrisstreams.runtime.door import Door
from ferrisstreams.runtime.door_name import file_number
from ferrisstreams.runtime.environment import Environment
from ferrisstreams.runtime.epoch import EpochRow
from ferrisstreams.runtime.follow_ups import FollowUps
from ferrisstreams.runtime.guard import guards_of
from ferrisstreams.runtime.iso_time import iso_time
from ferrisstreams.runtime.ledger import Ledger
from ferrisstreams.runtime.reopening import Reopening
from ferrisstreams.runtime.reports import JobReports
from ferrisstreams.runtime.rescaling import settle_layout
from ferrisstreams.runtime.settings import SourceSettings
from ferrisstreams.runtime.sources import Member, SeveralSources, SeveralTransactions
from ferrisstreams.runtime.state_folder import StateFolder
from ferrisstreams.runtime.state_identity import load_state
from ferrisstreams.runtime.state_store import StateStore
from ferrisstreams.runtime.task import Task, TaskInput, TaskSettings
from ferrisstreams.runtime.watched import watched
from ferrisstreams.runtime.watermarks import WatermarkRule, Watermarks


@dataclass(frozen=True, slots=True)
class JobResult:
    """What came of a job. `seconds` is from the first poll to the last commit of this run, `rows` what it read.

    The ledger counts from the job's first run, `this_run` from the start of this one; `watermark` is ISO 8601 UTC;
    `breakers` has the state of the circuit breaker of `source` and `sink`. `windows_closed_by_end`: by this run, as the
    input ended. `watermark_jump` says in words which row has made the watermark jump ahead of the clock.
    """

    name: str
    state: str
    seconds: float
    rows: int
    ledger: Ledger
    watermark: str | None
    positions: Mapping[str, JsonValue]
    error: FerrisError | None = None
    breakers: Mapping[str, str] = field(default_factory=dict)
    windows_closed_by_end: int = 0
    watermark_jump: str | None = None
    this_run: Ledger = field(default_factory=Ledger)


class Job:
    """One job of an application in this process. `open`, `run`, `close`; `stop` from anywhere."""

    def __init__(self, plan: JobPlan, environment: Environment) -> None:
        self.plan = plan
        self._environment = environment
        self._builder = JobBuilder(plan, environment)
        self._engine: Engine | None = None
        self._folder: StateFolder | None = None
        self._task: Task | None = None
        self._parts: CommitParts | None = None
        self._commit: Commit | None = None
        self._first_parts: CommitParts | None = None
        self._openings = 0
        self._begun = False
        self._epoch = OPENING_EPOCH
        self._stopped = False
        self._started_ms = 0.0
        self._before: Ledger | None = None
        self.progress = self._beginning()
        self.guards = guards_of(plan.name, self._builder.settings, environment.clock, environment.observer)
        self._door: Door | None = None
        self._decided_by: Commit | None = None
        self._reports = JobReports(environment.observer, self.guards, environment.clock, self._rows_read)

    def check(self) -> None:
        """Everything that can be known without opening source and sink. Raises FerrisError."""
        try:
            with scratch_engine() as engine:
                self._builder.pipeline(engine, self.plan.plan)
            for source in self._builder.sources:
                self._builder.member(source)
            self._builder.sink()
            self._builder.dead_letters()
        finally:
            self._builder.close()

    def growths(self) -> list[Growth]:
        """State that nothing bounds, of a source that does not end."""
        return self._builder.growths()

    def missing_files(self) -> list[str]:
        """Files that the job reads, that do not exist, and that no other job of the application writes."""
        if self.plan.depends_on:
            return []
        folder = self._environment.folder
        named = [
            (source.spec.name, source.values.text("path"))
            for source in self._builder.sources
            if source.connector.files and not source.values.flag("watch")
        ]
        return [
            f"{name} reads {path}, which does not exist yet"
            for name, path in named
            if not has_magic(path) and not absolute(folder, path, name).exists()
        ]

    def open(self, moved: Positions | None = None) -> None:
        """Build all components and go on where the last epoch ended, or at `moved`. Raises FerrisError."""
        builder, environment = self._builder, self._environment
        self._openings += 1
        if self._engine is None:
            self._engine = environment.engine or self._open_engine()
        store = StateStore(self._engine.state)
        state = load_state(store, builder)
        self.progress = self._beginning()
        guards, transactions = self.guards, builder.transactions()
        members = self._members()
        several = SeveralSources(members, self._seen_us()) if len(members) > 1 else None
        if several is not None and transactions is not None:
            beside = SeveralTransactions(transactions, self._neighbours(members), builder.keyed_commits)
            transactions = cast("Transactions", beside)
        dead_letters = builder.dead_letters()
        if dead_letters is not None:
            dead_letters.watch(guards.sink.watch)
        self._parts = CommitParts(
            source=several or members[0].source,
            sink=watched(builder.sink(), guards.sink.watch),
            dead_letters=dead_letters,
            pipeline=builder.pipeline(self._engine, state.plan),
            store=store,
            clock=environment.clock,
            faults=environment.faults,
            follow_ups=FollowUps(self.plan.name, self._reports),
            transactions=watched(transactions, guards.sink.watch) if transactions is not None else None,
            replaced=(*builder.replaced(), *(self._folder.replaced() if self._folder is not None else ())),
        )
        self._commit = Commit(self._parts, self._commit_policy(), self.progress)
        settings = self._task_settings(members)
        strategy = several.strategy if several is not None else members[0].strategy
        self._task = Task(self._parts, self._commit, self.progress, strategy, settings, self._reports)
        self._task.recover(state.last, moved, state.begins_again, self._begun)
        self._decided_by = self._commit
        self._begun = True
        if self._before is None:
            self._before = replace(self.progress.ledger)
        if self._stopped:
            self._task.stop()

    @property
    def task(self) -> Task:
        assert self._task is not None, "open the job first"
        return self._task

    def run(self) -> JobResult:
        """Run to the end and close. A failure is in the result, whatever raised it; only an interrupt is raised."""
        clock = self._environment.clock
        self._started_ms = clock.monotonic_ms()
        error: FerrisError | None = None
        state = "failed"
        try:
            try:
                state = self._run_to_the_end()
            except BaseException as raised:
                with noted_on(raised):
                    self.close(raised)
                raise
            self.close()
        except Exception as raised:
            error, state = as_ferris_error(raised), "failed"
        return self._result(state, (clock.monotonic_ms() - self._started_ms) / 1000, error)

    def _run_to_the_end(self) -> str:
        """Where an outside system fails for a while, all is given back, and the job goes on as at start."""
        clock, reports = self._environment.clock, self._reports
        reopening = Reopening(self.guards, clock, reports, lambda: self._stopped, reports.again)
        opened = False
        while True:
            try:
                self.open()
                if not opened:
                    self._open_door()
                    self._tell_growth()
                    self._started_ms = clock.monotonic_ms()
                opened = True
                return self.task.run()
            except ConnectorError as error:
                self._close_parts()
                if self._stopped:
                    raise
                reopening.wait(self.plan.name, error, self._commit.epoch if self._commit is not None else 0)
                if self._stopped:
                    return "stopped"

    def move(self, positions: Positions) -> None:
        """Open the job and send it to other positions, as an epoch of its own; then close it. Raises FerrisError."""
        try:
            self.open(positions)
            assert self._commit is not None
            self.progress.moved = True
            self._commit.batch_done(0)
            self._commit.run()
            self._commit.settle()
        except BaseException as raised:
            with noted_on(raised):
                self.close(raised)
            raise
        self.close()

    def is_strict(self) -> bool:
        """Whether a row that fails stops the job, although no strategy says so."""
        return self._builder.is_strict()

    def stop(self) -> None:
        """Ask the job to end after the current batch."""
        self._stopped = True
        if self._task is not None:
            self._task.stop()

    def close(self, failed: BaseException | None = None) -> None:
        """Give everything back. A job that has `failed` before anything of it was final leaves nothing behind."""
        with ExitStack() as stack:
            stack.callback(self._builder.close)
            engine, self._engine = self._engine, None
            if engine is not None and self._environment.engine is None:
                stack.callback(engine.close)
                stack.callback(self._give_back_start, failed, engine)
                stack.callback(self._close_door)
            self._close_parts()

    # --- private ----------------------------------------------------------------------------------------------------

    def _open_door(self) -> None:
        """Answer reads from now on. Nothing of the job depends on that."""
        engine, folder = self._engine, self._folder
        if folder is None or engine is None or engine.reader is None:
            return
        try:
            file, reader = file_number(folder.path), engine.reader

            def answer(text: bytes) -> bytes:
                # Imported here: most runs end before anybody asks.
                from ferrisstreams.runtime.answers import Answers

                return Answers(file, reader, self._decided, self._reports).reply(text)

            self._door = Door(folder.path, answer, reader.interrupt, self._tell_no_door)
            self._door.start()
        except (OSError, RuntimeError) as error:  # A RuntimeError: the system has no thread left.
            self._tell_no_door(str(error))
            self._close_door()

    def _close_door(self) -> None:
        door, self._door = self._door, None
        if door is not None:
            try:
                door.close()
            except OSError as error:
                self._tell_no_door(str(error))

    def _decided(self) -> EpochRow | None:
        """Also while the job is opened again."""
        return self._decided_by.decided if self._decided_by is not None else None

    def _tell_growth(self) -> None:
        """Of several workers the first one says it."""
        if self._environment.worker in (None, 0) and not self.plan.plan.spec.anonymous:
            for growth in self._builder.growths():
                self._reports.event(
                    "state_unbounded",
                    job=self.plan.name,
                    operator=growth.operator,
                    grows=f"with {growth.grows}",
                    hint=growth.remedy,
                )

    def _tell_no_door(self, why: str) -> None:
        self._reports.event(
            "reads_unavailable",
            job=self.plan.name,
            reason=why,
            hint="`ferris status` and other reads of this job do not work until it is started again",
        )

    def _close_parts(self) -> None:
        """Give everything outside back; the engine with its state stays."""
        if self._parts is None:
            return
        parts, self._parts = self._parts, None
        self._first_parts = self._first_parts or parts
        if self._commit is not None:
            self._epoch = max(self._epoch, self._commit.epoch)
        with ExitStack() as stack:
            for part in (parts.transactions, parts.dead_letters, parts.sink, parts.source):
                if part is not None:
                    stack.callback(part.close)
            parts.store.rollback()

    def _give_back_start(self, failed: BaseException | None, engine: Engine) -> None:
        """Take away all that the start has made, when nothing of the job is final but where it begins."""
        folder, parts = self._folder, self._first_parts
        if (folder is not None and not folder.is_new) or not self._has_only_begun(failed):
            return
        if parts is not None:
            parts.sink.discard()
            if parts.dead_letters is not None:
                parts.dead_letters.discard()
            for aside in self._builder.replaced() if self._environment.overwrite else ():
                aside.put_back()
        if folder is not None:
            folder.give_back(engine)

    def _has_only_begun(self, failed: BaseException | None) -> bool:
        """Whether the job has come no further than its opening epoch, and that is known nowhere else."""
        commit = self._commit
        if commit is None:
            return True
        if self._epoch == OPENING_EPOCH:
            return not commit.may_be_known
        # Of several workers the others may go on; what a job that was opened again has adopted is not known any more.
        alone = self._environment.worker is None and (self._openings == 1 or not commit.may_be_known)
        failing = isinstance(failed, Exception) and self._epoch == OPENING_EPOCH + 1
        return failing and alone and commit.forget_opening()

    def _beginning(self) -> Progress:
        builder = self._builder
        rules = {builder.key_name(source): _watermark_rule(source) for source in builder.sources}
        scans = [name for source in builder.sources for name in builder.scans_of(source).values()]
        by_scan = {name: Ledger() for name in scans} if len(scans) > 1 else {}
        return Progress({}, {}, Ledger(), Watermarks(rules), by_scan=by_scan)

    def _members(self) -> list[Member]:
        guarded = zip(self._builder.sources, self.guards.sources, strict=True)
        members = [(self._builder.member(source), guard) for source, guard in guarded]
        return [replace(member, source=watched(member.source, guard.watch)) for member, guard in members]

    def _neighbours(self, members: Sequence[Member]) -> list[Member]:
        """Those whose positions are committed with the output."""
        sources = zip(self._builder.sources, members, strict=True)
        return [member for source, member in sources if self._builder.is_beside(source)]

    def _seen_us(self) -> Callable[[str], int] | None:
        """How far in event time each source has come, where all streams have one."""
        streams = (source.spec for source in self._builder.sources if not source.spec.key)
        timed = all(stream.event_time is not None for stream in streams)
        return (lambda name: self.progress.watermarks.source_seen_us(name)) if timed else None

    def _paths(self) -> tuple[str, ...]:
        """What the engine may read."""
        return tuple(block.path for block in self._builder.blocks.values())

    def _open_engine(self) -> Engine:
        root = self._environment.state_root
        limit = self._builder.settings.job.optional_integer("memory.limit")
        paths = self._paths()
        if root is None or self.plan.plan.spec.anonymous:
            return memory_engine(limit, paths)
        if self._environment.worker is None:
            settle_layout(self._builder)
        self._folder = StateFolder(self._builder.state_folder())
        return self._folder.open(limit, paths, self._environment.overwrite)

    def _commit_policy(self) -> CommitPolicy:
        job = self._builder.settings.job
        return CommitPolicy(
            job.text("commit.policy"),
            job.duration_ms("commit.interval"),
            job.optional_integer("commit.rows"),
            job.duration_ms("commit.heartbeat"),
        )

    def _task_settings(self, members: Sequence[Member]) -> TaskSettings:
        builder = self._builder
        job = builder.settings.job
        direct = builder.graph.direct_scans
        inputs = {
            builder.key_name(source): TaskInput(builder.scans_of(source), direct, builder.input_failures(source))
            for source in builder.sources
        }
        # Several sources say themselves when they have ended: what one gives at the moment says nothing of the others.
        alone = len(builder.sources) == 1 and builder.stops_when_caught_up(builder.sources[0])
        return TaskSettings(
            job=self.plan.name,
            adopts=builder.stateless and not any(member.twin for member in members),
            inputs=inputs,
            output_failures=builder.output_failures,
            limit=ConsecutiveLimit(job.integer("dlq.max_consecutive"), job.optional_number("dlq.max_ratio")),
            once=self._environment.once and alone,
            rows_max=self._rows_left(),
            rows_out_max=self.plan.plan.spec.limit,
            quote=job.text("quote").encode() if builder.settings.sink_connector.prints else b"",
            endless=builder.is_endless,
            drain=self._environment.drain,
            windowed=builder.windowed,
        )

    def _jump(self) -> str | None:
        jump = self.progress.watermarks.furthest_jump(self._environment.clock.now_us())
        if jump is None:
            return None
        days = jump.ahead_us / 86_400e6
        return f"to {iso_time(jump.event_us)} by the row at {jump.position}, {days:,.0f} days ahead of the clock"

    def _rows_left(self) -> int | None:
        most = self._environment.rows_max
        return most if most is None else most - self._rows_read()

    def _rows_read(self) -> int:
        """Rows of this run, those of epochs that were taken back not counted."""
        return self._this_run().read

    def _this_run(self) -> Ledger:
        """What was counted in this run."""
        return self.progress.ledger.difference(self._before) if self._before is not None else Ledger()

    def _result(self, state: str, seconds: float, error: FerrisError | None) -> JobResult:
        progress = self.progress
        return JobResult(
            name=self.plan.name,
            state=state,
            seconds=seconds,
            rows=self._rows_read(),
            ledger=progress.ledger,
            watermark=iso_time(progress.watermarks.current_us()),
            positions=dict(progress.positions),
            error=error,
            breakers=self.guards.states(),
            windows_closed_by_end=progress.windows_closed_by_end,
            watermark_jump=self._jump(),
            this_run=self._this_run(),
        )


def _watermark_rule(source: SourceSettings) -> WatermarkRule:
    # Nothing waits for the rows of a table.
    time = source.spec.event_time if not source.spec.key else None
    idle_ms = source.values.optional_number("watermark.idle_timeout")
    return WatermarkRule(time.delay_us if time is not None else None, idle_ms)
