"""The audit: from sources, sinks, dead letters and ledger, whether every record is accounted for.

Nothing here uses what the job itself counted: records of sources, rows of sinks and letters are counted from the files.
"""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from ferrisstreams.batch import JsonValue, integer, mapping, partition_key, partitions_of
from ferrisstreams.connectors.file import file_source_settings, output_names, sink_files
from ferrisstreams.connectors.file_identity import FilePosition
from ferrisstreams.connectors.file_settings import FileSourceSettings
from ferrisstreams.connectors.kafka.settings import kafka_source_settings
from ferrisstreams.connectors.output_file import lost
from ferrisstreams.connectors.rotating_sink import RotationMark
from ferrisstreams.errors import FerrisError, StateError
from ferrisstreams.plan.nodes import JobPlan
from ferrisstreams.runtime.build import JobBuilder
from ferrisstreams.runtime.epoch import EpochRow
from ferrisstreams.runtime.ledger import Ledger
from ferrisstreams.runtime.reconcile import newest
from ferrisstreams.runtime.settings import SourceSettings, failure_policy
from ferrisstreams.runtime.sources import least_positions
from ferrisstreams.runtime.worker_epochs import joined_epochs
from ferrisstreams.session.application import Application, RunOptions
from ferrisstreams.session.audit_topics import count_letters, count_sink, count_source, gone_topic
from ferrisstreams.session.dlq_journal import Journal
from ferrisstreams.session.outside import committed
from ferrisstreams.session.reading import final_row
from ferrisstreams.session.recount import count_records, count_written, files_read, files_written, size_of
from ferrisstreams.session.workers import builders_of


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was compared: what the ledger says, and what was found outside."""

    what: str
    expected: int
    found: int

    @property
    def ok(self) -> bool:
        return self.expected == self.found


#: A check, what could not be checked and why, or what no longer exists.
Finding: TypeAlias = "Check | str | FerrisError"


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The checks of one job; `notes` say what could not be checked and why, `losses` what no longer exists (an output,
    a topic). `epoch`: of several workers the last."""

    job: str
    epoch: int
    checks: tuple[Check, ...]
    notes: tuple[str, ...]
    losses: tuple[FerrisError, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.losses and all(check.ok for check in self.checks)


def audit(application: Application, options: RunOptions) -> list[AuditReport]:
    """Audit every job that keeps state, also while it runs. Raises StateError when a job has none."""
    reports = []
    for plan in application.plan.jobs:
        if options.jobs is not None and plan.name not in options.jobs:
            continue
        if plan.plan.spec.anonymous:
            note = "a SELECT alone keeps no state: there is nothing to compare with"
            reports.append(AuditReport(plan.name, 0, (), (note,)))
            continue
        with builders_of(application, options, plan) as builders:
            reports.append(_audit(plan, builders))
    return reports


def _audit(plan: JobPlan, builders: Sequence[JobBuilder]) -> AuditReport:
    """Of several workers: what they have counted together, beside what source and sink hold of the job."""
    before = _readings(builders)
    report = _compared(plan, builders, before)
    for _ in range(_ATTEMPTS_MAX):
        after = _readings(builders)
        if [reading.epoch for reading in after] == [reading.epoch for reading in before]:
            return report
        before, report = after, _compared(plan, builders, after)
    return report if report.ok else _doubtful(report)


def _doubtful(report: AuditReport) -> AuditReport:
    """What differs of a job that commits faster than it can be counted says nothing."""
    moving = [f"{check.what}: the job went on while this was counted" for check in report.checks if not check.ok]
    certain = tuple(check for check in report.checks if check.ok)
    return replace(report, checks=certain, notes=(*report.notes, *moving))


def _compared(plan: JobPlan, builders: Sequence[JobBuilder], readings: Sequence[_Epoch]) -> AuditReport:
    rows = [reading.row for reading in readings]
    builder = builders[0]
    told = _Told(joined_epochs(rows), any(reading.is_running for reading in readings))
    tokens = [each for builder, row in zip(builders, rows, strict=True) for each in _token(builder, row)]
    sources = [each for source in builder.sources for each in _source(builder, source, told.last)]
    found: list[Finding] = [*_sums(told.ledger), *sources, *tokens]
    found += [*_sink(builder, told), *_letters(builder, told)]
    return AuditReport(
        plan.name,
        told.last.epoch,
        tuple(item for item in found if isinstance(item, Check)),
        tuple(item for item in found if isinstance(item, str)),
        tuple(item for item in found if isinstance(item, FerrisError)),
    )


@dataclass(frozen=True, slots=True)
class _Epoch:
    """The last final epoch of a worker; `is_running`: it goes on."""

    row: EpochRow
    is_running: bool

    @property
    def epoch(self) -> int:
        return self.row.epoch


@dataclass(frozen=True, slots=True)
class _Told:
    """What a job tells of itself. While it `is_running`, files hold more than its last epoch says, which is not looked
    at."""

    last: EpochRow
    is_running: bool

    @property
    def ledger(self) -> Ledger:
        return self.last.ledger

    def found_of(self, length: int, expected: int) -> int:
        """Of a file so long, what the job's last epoch answers for."""
        return min(length, expected) if self.is_running else length


def _readings(builders: Sequence[JobBuilder]) -> list[_Epoch]:
    return [_last_epoch(builder) for builder in builders]


def _last_epoch(builder: JobBuilder) -> _Epoch:
    row, is_running = final_row(builder)
    if row is None:
        raise StateError(f"job {builder.plan.name} has not committed anything yet", "E5003", "run it first")
    return _Epoch(row, is_running)


def _sums(ledger: Ledger) -> list[Check]:
    outcomes = ("emitted", "absorbed", "filtered", "late", "deduplicated", "dead_lettered", "skipped")
    counts = ledger.as_dict()
    return [
        Check("read = the sum of its outcomes", ledger.read, sum(counts[name] for name in outcomes)),
        Check("produced = written + rejected", ledger.produced, ledger.written + ledger.output_rejected),
    ]


# --- source -----------------------------------------------------------------------------------------------------------


def _source(builder: JobBuilder, source: SourceSettings, last: EpochRow) -> list[Finding]:
    positions = partitions_of(builder.key_name(source), last.positions)
    if source.connector.counts_rows:
        return _read_checks(builder, source, last, "rows generated", sum(map(integer, positions.values())))
    if source.connector.messages:
        if last.moved:
            return ["the positions were moved by hand: what was read cannot be counted"]
        read = kafka_source_settings(builder.source_context(source))
        if (gone := gone_topic(read.properties, read.topic)) is not None:
            return [gone]
        found = count_source(builder, source, last)
        if found.lost:
            return _LOST
        return _read_checks(builder, source, last, "records in the topic up to the position", found.records)
    if not source.connector.files:
        return [f"the source ({source.connector}) cannot be read again"]
    settings = file_source_settings(builder.source_context(source))
    in_files = {name: FilePosition.from_json(position, settings.names) for name, position in positions.items()}
    return _files(builder, source, last, settings, in_files)


def _read_checks(builder: JobBuilder, source: SourceSettings, last: EpochRow, what: str, found: int) -> list[Finding]:
    """What is in a source beside what each scan of it has read."""
    if not last.by_scan:
        return [Check(f"{what} = read", found, last.ledger.read)]
    names = builder.scans_of(source).values()
    return [Check(f"{source.spec.name}: {what} = read by {name}", found, last.by_scan[name].read) for name in names]


def _files(
    builder: JobBuilder,
    source: SourceSettings,
    last: EpochRow,
    settings: FileSourceSettings,
    positions: Mapping[str, FilePosition],
) -> list[Finding]:
    if any(position.before for position in positions.values()):
        return ["files of the source were renamed while it was followed: what was read of them cannot be recounted"]
    files = files_read(positions, settings)
    if files is None:
        return ["files of the source were taken away after they were read: their records cannot be counted again"]
    counted = sum(count_records(path, stop, settings) for path, stop in files)
    return _read_checks(builder, source, last, "records in the source up to the position", counted)


#: How often a job that commits meanwhile is counted again.
_ATTEMPTS_MAX = 3

#: Of a topic whose beginning is gone nothing can be counted.
_LOST: list[Finding] = ["the topic no longer holds all records since the job began: they were not counted"]


def _token(builder: JobBuilder, last: EpochRow) -> list[Finding]:
    """What the group has committed outside, beside the state."""
    if not any(source.connector.messages for source in builder.sources):
        return []
    outside = committed(builder, last.epoch)
    token = newest(found.metadata for found in outside.values())
    if token is None:
        return []
    of = f" of worker {builder.share.worker}" if builder.share.workers > 1 else ""
    checks: list[Finding] = [Check(f"epoch of the token outside = of the state{of}", last.epoch, token.epoch)]
    positions = _group_positions(builder, last)
    known = {name: found.offset for name, found in outside.items() if name in positions}
    return checks + [
        Check(f"committed offset of {name} = position", integer(positions[name]), offset)
        for name, offset in known.items()
    ]


def _group_positions(builder: JobBuilder, last: EpochRow) -> dict[str, JsonValue]:
    """What the group is to have committed: of a topic that two sources read, the smaller position."""
    sources = {builder.key_name(source): builder.twin(source) for source in builder.sources}
    return {
        partition_key(name, partition): position
        for name, first in sources.items()
        for partition, position in least_positions(sources, last.positions, first or name).items()
    }


# --- sink and letters -------------------------------------------------------------------------------------------------


def _sink(builder: JobBuilder, told: _Told) -> list[Finding]:
    last, ledger = told.last, told.ledger
    if builder.settings.sink_connector.messages:
        gone = gone_topic(builder.producer.properties, builder.sink_topic())
        if gone is not None:
            return [gone]
        counted = count_sink(builder, last)
        checks = [Check("records in the topic since the job began = written", ledger.written, counted.records)]
        return _LOST if counted.lost else [*checks]
    if not builder.settings.sink_connector.files:
        return [f"the sink ({builder.settings.sink_connector}) cannot be read again"]
    return _sink_files(builder, told)


def _sink_files(builder: JobBuilder, told: _Told) -> list[Finding]:
    job, path, ledger = builder.settings.job, str(builder.sink_path()), told.ledger
    found = told.last.marks["sink"]
    names = output_names(job, path)
    if names is None:
        expected = integer(mapping(found)["length"])
        files: Mapping[str, int | None] = {path: expected}
        if not os.path.exists(path):
            return [lost(path, "is gone")]
    else:
        mark = RotationMark.from_json(found, names)
        expected = mark.closed_bytes + (mark.open.extent.length if mark.open else 0)
        files = files_written(mark, names)
    if names is not None and job.flag("append"):
        return ["the sink was appended to: its files are not the job's alone"]
    checks = [Check("bytes of the sink = its mark", expected, told.found_of(size_of([*files]), expected))]
    if job.flag("append"):
        return [*checks, "the sink was appended to: its rows are not the job's alone"]
    reading = sink_files(job, path)
    if told.is_running and reading.compression != "none":
        return [*checks, "the sink is compressed: its rows are counted when the job does not run"]
    rows = sum(
        count_written(each, partial(count_records, stop=stop if told.is_running else None, settings=reading))
        for each, stop in files.items()
    )
    return [*checks, Check("rows in the sink = written", ledger.written, rows)]


def _letters(builder: JobBuilder, told: _Told) -> list[Finding]:
    last, ledger = told.last, told.ledger
    if not builder.needs_dead_letters:
        return [] if ledger.dead_lettered == 0 else ["dead letters were written under other settings"]
    mark = last.marks.get("dead_letters")
    if isinstance(mark, dict) and mark.get("moved"):
        return ["the dead letters had another place before, under other settings: they were not counted"]
    topic = builder.dead_letter_topic()
    if topic is not None:
        return _letters_in_topic(builder, last, ledger, topic)
    counts = {"input": 0, "output": 0, "derived": 0, "late": 0, **_purged(builder)}
    path = builder.dead_letter_path()
    if not path.exists():
        return [lost(str(path), "is gone")]
    length = integer(mapping(mark)["length"])
    size = path.stat().st_size
    with open(path, "rb") as file:
        for line in filter(bytes.strip, io.BytesIO(file.read(told.found_of(size, length)))):
            headers = json.loads(line)["headers"]
            counts["late" if headers["ferris.stage"] == "late" else headers["ferris.kind"]] += 1
    checks: list[Finding] = [Check("bytes of the dead letters = their mark", length, told.found_of(size, length))]
    return [*checks, *_letter_checks(builder, ledger, counts)]


def _letters_in_topic(builder: JobBuilder, last: EpochRow, ledger: Ledger, topic: str) -> list[Finding]:
    if (gone := gone_topic(builder.producer.properties, topic)) is not None:
        return [gone]
    found = count_letters(builder, last, topic)
    counts = Counter[str]()
    for (stage, kind), count in found.by_headers.items():
        counts["late" if stage == "late" else kind] += count
    return _LOST if found.lost else [*_letter_checks(builder, ledger, counts)]


def _letter_checks(builder: JobBuilder, ledger: Ledger, counts: Mapping[str, int]) -> list[Check]:
    checks = []
    if all(failure_policy(source.values).route == "dlq" for source in builder.sources):
        checks.append(
            Check("letters of rows that failed = dead_lettered", ledger.dead_lettered, counts.get("input", 0))
        )
    if failure_policy(builder.settings.sink).route == "dlq":
        checks.append(
            Check("letters of output rows = output_rejected", ledger.output_rejected, counts.get("output", 0))
        )
        checks.append(
            Check("letters of derived rows = derived_rejected", ledger.derived_rejected, counts.get("derived", 0))
        )
    if builder.sources[0].values.text("late.data.strategy") == "dead_letter":
        checks.append(Check("letters of late rows = late", ledger.late, counts.get("late", 0)))
    return checks


def _purged(builder: JobBuilder) -> Mapping[str, int]:
    """How many letters of each kind were erased by `ferris dlq purge`."""
    journal = Journal(builder.letter_mark().journal_path, writing=False)
    try:
        return journal.purged_counts()
    finally:
        journal.close()
