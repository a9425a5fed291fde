"""Opens the dead letters of an application's jobs, and finds the place that they can be replayed to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ferrisstreams.connectors.compression import compression_of
from ferrisstreams.connectors.file import file_source_settings
from ferrisstreams.connectors.file_settings import FileSourceSettings
from ferrisstreams.connectors.kafka.producer import properties_beside
from ferrisstreams.connectors.kafka.settings import kafka_source_settings
from ferrisstreams.connectors.kafka.topics import Topics
from ferrisstreams.errors import ConfigError
from ferrisstreams.plan.nodes import JobPlan
from ferrisstreams.plan.system_columns import RECORD_TIME
from ferrisstreams.runtime.build import JobBuilder
from ferrisstreams.session.application import Application, RunOptions
from ferrisstreams.session.dlq import DeadLetterQueue
from ferrisstreams.session.dlq_file import FileLetters, ReplayTarget
from ferrisstreams.session.dlq_journal import length_and_end
from ferrisstreams.session.dlq_letters import LetterStore
from ferrisstreams.session.dlq_topic import JournalPlace, TopicJournal, TopicLetters
from ferrisstreams.session.state import builder_of


@dataclass(frozen=True, slots=True)
class OpenQueue:
    """The queue, where replayed records go (`target`, when asked for), and what is not final yet."""

    queue: DeadLetterQueue
    target: str
    bytes_not_final: int


@contextmanager
def open_to_read(application: Application, options: RunOptions, job: JobPlan) -> Iterator[OpenQueue | None]:
    """The letters of a job; None when it has none."""
    with builder_of(application, options, job) as builder:
        if _has_letters(builder):
            yield from _opened(builder, _store(builder), "")
        else:
            yield None


@contextmanager
def open_to_change(
    application: Application, options: RunOptions, job: JobPlan, dry_run: bool, replaying: bool, to: str | None = None
) -> Iterator[OpenQueue | None]:
    """The letters of a job, held alone. With `replaying` they can be sent: to the file or topic `to`, else to the
    job's source. With `dry_run` nothing can be changed, and nothing is.

    Raises ConfigError where they cannot go there, StateError E5001 where another process holds them.
    """
    with builder_of(application, options, job) as builder:
        if not _has_letters(builder):
            yield None
            return
        target = _target(application, options, builder, to) if replaying else None
        store = _store(builder, not dry_run, target)
        yield from _opened(builder, store, str(target.path) if isinstance(target, ReplayTarget) else target or "")


def _store(builder: JobBuilder, writing: bool = False, target: ReplayTarget | str | None = None) -> LetterStore:
    """To read; to change when `writing`. The target is a file, or the name of a topic."""
    faults, topic = builder.environment.faults, builder.dead_letter_topic()
    to_topic = target if isinstance(target, str) else None
    name, keeps_time = f"{builder.identity.group}.dlq", _keeps_time(builder)
    if topic is not None:
        properties = builder.producer.properties
        place = JournalPlace(properties, f"{topic}.journal", name, keeps_time)
        return TopicLetters(properties, topic, TopicJournal(place, faults, writing, to_topic))

    topics = [source for source in builder.sources if source.connector.messages]

    def sent() -> TopicJournal:
        properties = properties_beside(kafka_source_settings(builder.source_context(topics[0])).properties)
        place = JournalPlace(properties, builder.identity.sent_journal_topic, name, keeps_time)
        return TopicJournal(place, faults, writing and to_topic is not None, to_topic)

    in_file = target if isinstance(target, ReplayTarget) else None
    path, mark = builder.dead_letter_path(), builder.letter_mark()
    return FileLetters(path, mark, faults, writing, in_file, sent if topics else None)


def _has_letters(builder: JobBuilder) -> bool:
    topic = builder.dead_letter_topic()
    if topic is None:
        return builder.dead_letter_path().exists()
    return Topics(builder.producer.properties).partitions(topic) is not None


def _opened(builder: JobBuilder, store: LetterStore, target: str) -> Iterator[OpenQueue]:
    queue = DeadLetterQueue(builder.plan.name, store, builder.settings.job.integer("dlq.max_replays"))
    try:
        yield OpenQueue(queue, target, store.bytes_not_final)
    finally:
        queue.close()


def _keeps_time(builder: JobBuilder) -> bool:
    """Whether the time of a topic's record is the event time."""
    specs = [source.spec for source in builder.sources]
    return any(
        spec.event_time is not None and spec.event_time.column == RECORD_TIME and spec.schema.get(RECORD_TIME) is None
        for spec in specs
    )


# --- where replayed records go ----------------------------------------------------------------------------------------


def _target(application: Application, options: RunOptions, builder: JobBuilder, to: str | None) -> ReplayTarget | str:
    """The file, or the name of the topic."""
    letters = builder.dead_letter_topic()
    if letters is not None:
        return _target_topic(builder, letters, to)
    if to is None and len(builder.sources) > 1:
        raise _unfit(f"{builder.plan.name} reads several sources", "give --to a file that one of them reads")
    if to is None and builder.settings.source_connector.messages:
        return kafka_source_settings(builder.source_context()).topic
    path = Path(to).absolute() if to is not None else _source_file(builder)
    _refuse_written(application, options, path)
    if path.exists() and not path.is_file():
        raise _unfit(f"{path} is not a regular file", "give --to another file")
    origin = str(path)
    files = [source for source in builder.sources if source.connector.files]
    if len(files) == 1:
        origin = file_source_settings(builder.source_context(files[0])).names.name(str(path))
    return ReplayTarget(path, origin)


def _target_topic(builder: JobBuilder, letters: str, to: str | None) -> str:
    topic = to or next(iter(builder.producer.source_topics), None)
    if to is None and len(builder.sources) > 1:
        raise _unfit(
            f"{builder.plan.name} reads several sources", "give --to the topic of the one that is to read them"
        )
    if topic is None:
        raise _unfit(
            f"the source of {builder.plan.name} is not a topic on the cluster of its dead letters",
            "give --to a topic of that cluster",
        )
    written = [builder.sink_topic()] if builder.settings.sink_connector.messages else []
    if topic in (letters, f"{letters}.journal", *written):
        raise _unfit(f"the topic {topic} is written by the job {builder.plan.name}", "give --to another topic")
    return topic


def _source_file(builder: JobBuilder) -> Path:
    """The file of the job's source, when records can be appended to it."""
    connector = builder.settings.source_connector
    if not connector.files:
        raise _unfit(
            f"the source of {builder.plan.name} ({connector}) takes no records back", "give --to a file to send them to"
        )
    settings = file_source_settings(builder.source_context())
    path = Path(settings.path)
    if not path.exists():
        raise _unfit(
            f"the source of {builder.plan.name} is {path}, which is not one file that there is",
            "give --to one of the files that the source reads, or another one",
        )
    if settings.array or compression_of(str(path), settings.compression) != "none":
        raise _unfit(f"records cannot be appended to {path}, which is compressed or one JSON array", "give --to a file")
    _refuse_unfinished(path, settings)
    return path


def _refuse_unfinished(path: Path, settings: FileSourceSettings) -> None:
    """A line that another program is writing must not be ended by ours."""
    if settings.watch and path.is_file() and length_and_end(path)[1] not in (b"", b"\n"):
        raise _unfit(
            f"the last line of {path} is not finished: a program is writing to it", "try again, or give --to a file"
        )


def _refuse_written(application: Application, options: RunOptions, path: Path) -> None:
    """A file that a job writes is cut back to the job's mark: what others append is lost or breaks it."""
    for job in application.plan.jobs:
        with builder_of(application, options, job) as builder:
            written = [builder.dead_letter_path()]
            if builder.settings.sink_connector.files:
                written.append(builder.sink_path())
        if any(os.path.realpath(path) == os.path.realpath(one) for one in written):
            raise _unfit(f"{path} is written by the job {job.name}", "give --to a file that no job writes")


def _unfit(what: str, hint: str) -> ConfigError:
    return ConfigError(f"dead letters cannot be replayed: {what}", "E4006", hint)
