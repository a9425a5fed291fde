"""A task: the loop that moves a job's records from its source to its sink."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from ferrisstreams.batch import Fetch, Limit, Positions, Rejected
from ferrisstreams.compile.pipeline import BatchContext
from ferrisstreams.compile.results import Jump, Outcome
from ferrisstreams.errors import FatalConnectorError
from ferrisstreams.runtime.batching import Strategy
from ferrisstreams.runtime.commit import Commit, CommitParts, Progress
from ferrisstreams.runtime.deadletter import ConsecutiveLimit, failing_ordinals
from ferrisstreams.runtime.epoch import EpochRow
from ferrisstreams.runtime.failures import FailurePolicy, RejectionLog, fail_on, hint_for
from ferrisstreams.runtime.iso_time import iso_time
from ferrisstreams.runtime.observer import Observer, ProgressEvent
from ferrisstreams.runtime.watermarks import Silence

#: How often an observer hears how far the job is.
PROGRESS_INTERVAL_MS = 200.0


@dataclass(frozen=True, slots=True)
class TaskInput:
    """A source: the `scans` of the query that read it, by their numbers, and what they are called. Rows of the `direct`
    ones are emitted as they come, the others absorbed. `failures` is what becomes of its rows that fail."""

    scans: Mapping[int, str]
    direct: Collection[int]
    failures: FailurePolicy


@dataclass(frozen=True, slots=True)
class TaskSettings:
    """`inputs` are the sources, by their names in a fetch. `once`: stop when an endless source has nothing more.

    `adopts`: without a state the job begins where its group stands: it keeps nothing, and each topic has one position.

    `windowed`: results wait for the watermark. `rows_max`, `rows_out_max`: the job ends after so many rows read, or
    written; `quote` is that of CSV.
    `endless`: the source can go on after it has said that it ended, so that its end closes no window. `drain`: the end
    of the run closes them all the same.
    """

    job: str
    adopts: bool
    inputs: Mapping[str, TaskInput]
    output_failures: FailurePolicy
    limit: ConsecutiveLimit
    windowed: bool = False
    once: bool = False
    rows_max: int | None = None
    rows_out_max: int | None = None
    quote: bytes = b""
    endless: bool = False
    drain: bool = False


class Task:
    """One job's loop. `parts` are its components, shared with the commit."""

    def __init__(
        self,
        parts: CommitParts,
        commit: Commit,
        progress: Progress,
        strategy: Strategy,
        settings: TaskSettings,
        observer: Observer,
    ) -> None:
        self._parts = parts
        self._commit = commit
        self._progress = progress
        self._strategy = strategy
        self._settings = settings
        self._observer = observer
        self._log = RejectionLog()
        self._read = 0
        self._written = 0
        self._started_ms = parts.clock.monotonic_ms()
        self._told_ms = self._started_ms
        self._stop = False
        self._silences: set[str] = set()

    @property
    def rows_read(self) -> int:
        """Rows read in this run."""
        return self._read

    def recover(
        self, last: EpochRow | None, moved: Positions | None = None, again: bool = False, begun: bool = False
    ) -> None:
        """Go on where the last epoch ended, or at the positions that it is `moved` to; a job that keeps no state may
        begin at positions that are kept outside. `again` and `begun`: as in `Commit.recover`."""
        self._commit.recover(last, self._settings.adopts, moved, again, begun)
        self._progress.watermarks.assign(self._parts.source.partitions(), self._parts.clock.monotonic_ms())

    def stop(self) -> None:
        """Ask the loop to end after the current batch; the epoch is committed."""
        self._stop = True

    def run(self) -> str:
        """Until the source ends (`finished`) or a stop is asked for (`stopped`). An error takes the epoch back."""
        try:
            while not self._stop and self._rows_out_left != 0 and self.run_once():
                pass
            return self._end()
        except (Exception, KeyboardInterrupt) as error:
            self._commit.rollback(error)
            raise

    def run_once(self) -> bool:
        """One record's way: poll, process, write, account, commit. False when there is nothing more to come."""
        parts = self._parts
        limit = self._limit()
        began_ms = parts.clock.monotonic_ms()
        fetch = parts.source.poll(limit)
        parts.faults.reach("after_read")
        if fetch is None:
            return self._nothing()
        rows = self._process(fetch)
        self._strategy.observe(rows, parts.clock.monotonic_ms() - began_ms)
        self._commit.batch_done(rows)
        if self._commit.due(fetch.nothing_waits or fetch.drained):
            self._advance()
            self._commit.run()
        self._tell()
        return not self._done(fetch.nothing_waits)

    # --- private ----------------------------------------------------------------------------------------------------

    def _process(self, fetch: Fetch) -> int:
        """Give a fetch to each scan that reads it; gives its rows."""
        progress, context = self._progress, self._context(fetch)
        rows = 0
        for scan in self._settings.inputs[fetch.source].scans:
            outcome = Outcome() if fetch.is_empty else self._parts.pipeline.process(fetch, context, scan)
            self._parts.faults.reach("after_process")
            rows = self._account(fetch, outcome, scan)
            self._write((outcome,))
            now_ms = self._parts.clock.monotonic_ms()
            progress.watermarks.observe(fetch.key, outcome.tally.seen_us, now_ms, outcome.jump)
            if outcome.jump is not None:
                self._tell_jump(outcome.jump)
        progress.positions[fetch.key] = fetch.position
        progress.rows_read[fetch.key] = progress.rows_read.get(fetch.key, 0) + rows
        progress.finished = False
        return rows

    def _limit(self) -> Limit:
        limit = self._commit.bounded(self._strategy.limit())
        if self._settings.rows_max is None:
            return limit
        # A record counts once for each scan that reads it.
        scans = max(len(source.scans) for source in self._settings.inputs.values())
        left = (self._settings.rows_max - self._read) // scans
        return replace(limit, rows=max(1, min(limit.rows, left)))

    def _context(self, fetch: Fetch) -> BatchContext:
        seen_us = self._progress.watermarks.seen_us(fetch.key)
        rows_read = self._progress.rows_read.get(fetch.key, 0)
        return BatchContext(seen_us, rows_read, self._parts.clock.now_us())

    def _account(self, fetch: Fetch, outcome: Outcome, scan: int) -> int:
        """Every row of the fetch gets its outcome in the ledger, and in that of the scan where there are several."""
        tally, source = outcome.tally, self._settings.inputs[fetch.source]
        rejected = [*fetch.oversized, *outcome.rejected]
        filtered = tally.filtered + fetch.tombstones
        rows = tally.kept + tally.late + filtered + len(rejected)
        own = self._progress.by_scan.get(source.scans[scan])
        for ledger in (self._progress.ledger, own):
            if ledger is None:
                continue
            ledger.read += rows
            ledger.late += tally.late
            ledger.late_windows += tally.late_windows
            ledger.filtered += filtered
            if scan in source.direct:
                ledger.emitted += tally.kept
            else:
                ledger.absorbed += tally.kept
            if source.failures.route == "skip":
                ledger.skipped += len(rejected)
            elif source.failures.route == "dlq":
                ledger.dead_lettered += len(rejected)
        self._read += rows
        self._reject_inputs(rejected, rows, source.failures)
        if outcome.late_letters:
            self._letters(outcome.late_letters)
        return rows

    def _reject_inputs(self, rejected: list[Rejected], rows: int, policy: FailurePolicy) -> None:
        ledger = self._progress.ledger
        if rejected:
            self._report(rejected)
            if policy.route == "fail":
                raise fail_on(rejected)
        if policy.route == "dlq":
            # Judged first: a source of which everything fails fills no disk with letters.
            self._settings.limit.observe(failing_ordinals(rejected), rows, ledger.read, ledger.dead_lettered)
            self._letters(rejected)

    def _write(self, outcomes: Iterable[Outcome]) -> None:
        """Hand outputs to the sink, each before the next is made; rows that failed follow the sink's strategy."""
        for outcome in outcomes:
            self._write_rows(outcome)
        self._parts.faults.reach("after_write")

    def _write_rows(self, outcome: Outcome) -> None:
        ledger = self._progress.ledger
        rejected = list(outcome.output_rejected)
        produced = outcome.produced
        for whole in outcome.payloads:
            payload = whole.cut(self._rows_out_left, self._settings.quote)
            produced -= whole.rows - payload.rows
            refused = self._parts.sink.write(payload) if payload.rows else ()
            self._written += payload.rows - len(refused)
            ledger.written += payload.rows - len(refused)
            rejected += refused
        ledger.produced += produced
        self._reject_outputs(rejected)
        ledger.output_rejected += len(rejected)
        self._reject_outputs(outcome.derived_rejected)
        ledger.derived_rejected += len(outcome.derived_rejected)

    def _reject_outputs(self, rejected: list[Rejected]) -> None:
        if rejected:
            self._report(rejected)
            if self._settings.output_failures.route == "fail":
                raise fail_on(rejected)
            if self._settings.output_failures.route == "dlq":
                self._letters(rejected)

    def _advance(self) -> None:
        """Move the job's watermark and write what closes: at the end of an epoch, because no one sees it before."""
        watermarks = self._progress.watermarks
        before = watermarks.current_us()
        source, now_ms = self._parts.source, self._parts.clock.monotonic_ms()
        watermark = watermarks.job_us(source.partitions(), source.caught_up(), now_ms)
        if watermarks.current_us() != before:
            self._write(self._parts.pipeline.advance(watermark))
            self._commit.batch_done(0)

    def _nothing(self) -> bool:
        """No records: idle partitions may let windows close, and the open epoch ends."""
        self._advance()
        if self._commit.due(caught_up=True) or self._parts.sink.overdue():
            self._commit.run()
        self._commit.idle()
        self._tell()
        return not self._done(caught_up=True)

    def _done(self, caught_up: bool) -> bool:
        if self._has_all_wanted or self._rows_out_left == 0:
            return True
        return self._parts.source.ended or (self._settings.once and caught_up)

    @property
    def _has_all_wanted(self) -> bool:
        return self._settings.rows_max is not None and self._read >= self._settings.rows_max

    @property
    def _rows_out_left(self) -> int | None:
        return None if self._settings.rows_out_max is None else self._settings.rows_out_max - self._written

    def _end(self) -> str:
        """The last epoch: at the end of a source that cannot go on everything closes, of another one when asked for."""
        progress, settings = self._progress, self._settings
        source_ended = self._parts.source.ended
        limited = self._rows_out_left == 0
        ended = not self._stop and (source_ended or limited or (settings.once and not self._has_all_wanted))
        self._advance()
        if (
            ended
            and not limited
            and not progress.finished
            and (settings.drain or (source_ended and not settings.endless))
        ):
            self._write(self._parts.pipeline.finish())
            progress.windows_closed_by_end = self._parts.pipeline.windows_closed_by_end
            progress.finished = True
            self._commit.batch_done(0)
        if self._commit.is_open:
            self._commit.run()
        self._commit.settle()
        self._tell(force=True)
        return "finished" if ended else "stopped"

    def _letters(self, rejected: list[Rejected]) -> None:
        if self._parts.dead_letters is None:
            raise FatalConnectorError("a dead letter without a place for it", "E4003", "set dlq.path")
        self._parts.dead_letters.write(rejected, self._parts.clock.now_us())

    def _report(self, rejected: list[Rejected]) -> None:
        for row in rejected:
            count = self._log.worth_telling(row)
            if count is not None:
                hint = hint_for(row)
                self._observer.event(
                    "row_rejected",
                    job=self._settings.job,
                    code=row.code,
                    position=row.position,
                    message=row.message,
                    count=count,
                    **({"hint": hint} if hint else {}),
                )

    def _tell_jump(self, jump: Jump) -> None:
        self._observer.event(
            "watermark_jumped",
            job=self._settings.job,
            position=jump.position,
            event_time=iso_time(jump.event_us),
            before=iso_time(jump.before_us),
            ahead_of_clock_seconds=round(jump.ahead_us / 1e6),
            hint="rows of windows that end before it are late from now on; 'watermark.max_ahead' rejects such a row",
        )

    def _silence(self, now_ms: float) -> Silence | None:
        """The silent partition that windows wait for; said once for each silence."""
        if not self._settings.windowed:
            return None
        source = self._parts.source
        silence = self._progress.watermarks.waits_for(source.partitions(), source.caught_up(), now_ms)
        if silence is not None and silence.partition not in self._silences:
            since_us = self._parts.clock.now_us() - int(silence.silent_ms * 1000)
            self._observer.event(
                "windows_wait",
                job=self._settings.job,
                partition=silence.partition,
                silent_since=iso_time(since_us),
                hint="nothing of this partition waits to be read, and windows do not close without it; set"
                " 'watermark.idle_timeout' to how long a partition may be silent",
            )
        self._silences = {silence.partition} if silence is not None else set()
        return silence

    def _tell(self, force: bool = False) -> None:
        clock = self._parts.clock
        now_ms = clock.monotonic_ms()
        if force or now_ms - self._told_ms >= PROGRESS_INTERVAL_MS:
            self._told_ms = now_ms
            watermark_us = self._progress.watermarks.current_us()
            self._observer.progress(
                ProgressEvent(
                    job=self._settings.job,
                    rows=self._read,
                    source=self._parts.source.progress(),
                    watermark_us=watermark_us,
                    seconds=(now_ms - self._started_ms) / 1000,
                    behind_seconds=(clock.now_us() - watermark_us) / 1e6 if watermark_us is not None else None,
                    commit_seconds=(now_ms - self._commit.since_ms) / 1000,
                    sink=self._parts.sink.client(),
                    waits_for=self._silence(now_ms),
                )
            )
