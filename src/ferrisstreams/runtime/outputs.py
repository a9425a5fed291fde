"""Where the rows of a job go, and its dead letters: sinks, topics, files, and who decides its epochs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ferrisstreams.batch import partition_key
from ferrisstreams.connectors.base import CommittedOffset, Sink, Transactions
from ferrisstreams.connectors.connector import SinkContext
from ferrisstreams.connectors.file import absolute, output_names, sink_path
from ferrisstreams.connectors.file_sink import FileSink, FileSinkSettings
from ferrisstreams.connectors.kafka.connector import topic_of
from ferrisstreams.connectors.output_names import is_pattern
from ferrisstreams.connectors.set_aside import SetAside
from ferrisstreams.errors import ConfigError
from ferrisstreams.runtime.deadletter import DeadLetters, LetterContext, as_messages
from ferrisstreams.runtime.job_facts import JobFacts
from ferrisstreams.runtime.letter_mark import COMPANIONS, LetterMark
from ferrisstreams.runtime.settings import SourceSettings

if TYPE_CHECKING:
    from ferrisstreams.connectors.kafka.producer import KafkaProducer


class JobOutputs(JobFacts):
    """The outputs of one job, or of one of its workers."""

    def sink_context(self, header: bytes = b"") -> SinkContext:
        """What the connector makes the sink of; `header` begins a new file."""
        environment = self.environment
        return SinkContext(
            name=self.plan.plan.spec.name,
            settings=self.settings.job,
            folder=environment.folder,
            position=self.plan.position,
            clock=environment.clock,
            header=header,
            rows_to=environment.rows_to,
            overwrite=environment.overwrite,
            in_memory=environment.memory_sinks,
            producer=lambda: self.producer,
        )

    @cached_property
    def producer(self) -> KafkaProducer:
        """The one producer of the job's outputs and dead letters; it connects when it is used."""
        # Imported where it is used: a job between files does without the client.
        from ferrisstreams.connectors.kafka.producer import KafkaProducer
        from ferrisstreams.connectors.kafka.settings import ProducerContext, producer_settings

        settings = self.settings
        rows = self.sink_topic() if settings.sink_connector.messages else None
        context = ProducerContext(
            name=self.plan.name,
            settings=settings.job,
            position=self.plan.position,
            topic=rows,
            letters=self.dead_letter_topic() if rows is None or self.needs_dead_letters else None,
            reads=tuple(self.source_context(source) for source in self.sources if source.connector.messages),
            group=self.identity.group,
            transactional_id=self.identity.transactional_id(self.share),
        )
        return KafkaProducer(producer_settings(context), self.environment.clock)

    def sink_topic(self) -> str:
        """The topic of a Kafka sink."""
        return topic_of(self.settings.job, self.plan.plan.spec.name)

    def sink_path(self) -> Path:
        """The file of a file sink, or the pattern of its files."""
        return sink_path(self.sink_context())

    def transactions(self) -> Transactions | None:
        """What decides the job's epochs; None: the state file."""
        if self.environment.stand_ins is not None:
            return self.environment.stand_ins.transactions
        decides = self.settings.sink_connector.transactions or (
            self.needs_dead_letters and self.dead_letter_topic() is not None
        )
        return self.producer if decides and self.producer.transactional else None

    def is_beside(self, source: SourceSettings) -> bool:
        """Whether a source is a topic of the cluster whose transactions decide the epochs."""
        if self.environment.stand_ins is not None:
            return True
        return source.connector.messages and topic_of(source.values, source.spec.name) in self.producer.source_topics

    def keyed_commits(self, committed: Mapping[str, CommittedOffset]) -> dict[str, CommittedOffset]:
        """What is committed outside, by the names that partitions have among those of all sources of the job."""
        found = {}
        for source in self.sources:
            topic = topic_of(source.values, source.spec.name) if source.connector.messages else None
            for name, offset in committed.items():
                if len(self.sources) == 1 or name.rpartition("-")[0] == topic:
                    found[partition_key(self.key_name(source), name)] = offset
        return found or dict(committed)

    def replaced(self) -> tuple[SetAside, ...]:
        """Where the output and the dead letters lie meanwhile that `--overwrite` replaces."""
        if self.environment.stand_ins is not None:
            return ()
        places = []
        if self.settings.sink_connector.files:
            path = str(self.sink_path())
            names = output_names(self.settings.job, path)
            places.append(names.claimed if names is not None else os.path.realpath(path))
        if self.needs_dead_letters and self.dead_letter_topic() is None:
            places.append(os.path.realpath(self.dead_letter_path()))
        return tuple(map(SetAside, places))

    # --- dead letters -----------------------------------------------------------------------------------------------

    def dead_letters(self) -> DeadLetters | None:
        if not self.needs_dead_letters:
            return None
        version = self.plan.annotations.get("version")
        context = LetterContext(
            job=f"{self.identity.application}.{self.identity.job}",
            version=str(version.value) if version else "",
            connectors={self.key_name(source): source.connector for source in self.sources},
        )
        if self.environment.stand_ins is None and (topic := self.dead_letter_topic()) is not None:
            from ferrisstreams.connectors.kafka.sink import KafkaSink

            return DeadLetters(KafkaSink(self.producer, topic), context, form=as_messages)
        final = self.letter_mark() if self.environment.stand_ins is None else None
        return DeadLetters(self._dead_letter_sink(), context, final)

    def dead_letter_topic(self) -> str | None:
        """The topic of dead letters, on the sink's cluster, or the source's where rows go elsewhere; None: they go to a
        file, because one is named, or no transaction can have them. Raises ConfigError E3003 or E3005."""
        job, spec = self.settings.job, self.plan.plan.spec
        given, in_file = job.property("dlq.topic"), job.given("dlq.path")
        if given is not None and in_file:
            raise ConfigError(
                "'dlq.topic' and 'dlq.path' name two places of dead letters",
                "E3003",
                "leave one of them out",
                given.position,
            )
        keeps_state = self.environment.state_root is not None and not spec.anonymous
        reads = all(source.connector.transactions for source in self.sources) and keeps_state
        if self.settings.sink_connector.transactions or reads:
            return None if in_file else job.optional_text("dlq.topic") or self.identity.dead_letter_topic
        if given is not None:
            raise ConfigError(
                "'dlq.topic' of a job that neither writes to Kafka nor reads it with state of its own",
                "E3005",
                "use 'dlq.path', which names a file",
                given.position,
            )
        return None

    def _dead_letter_sink(self) -> Sink:
        if self.environment.stand_ins is not None:
            return self.environment.stand_ins.dead_letters
        path = str(self.dead_letter_path())
        overwrite = self.environment.overwrite
        return FileSink(FileSinkSettings(path, overwrite=overwrite, letters=True, companions=COMPANIONS))

    def dead_letter_path(self) -> Path:
        """Beside the sink's file, else beside the application."""
        given = self.settings.job.optional_text("dlq.path")
        if given is not None:
            return absolute(self.environment.folder, given, "dlq.path")
        folder = self.environment.folder
        if self.settings.job.has("path"):
            folder = self.sink_path().parent
            while is_pattern(str(folder)):
                folder = folder.parent
        return folder / self.identity.dead_letter_file

    def letter_mark(self) -> LetterMark:
        path = self.dead_letter_path()
        job = self.settings.job
        written = job.optional_text("dlq.path") or (job.optional_text("path") if job.has("path") else None) or ""
        relative = os.path.relpath(path, self.environment.folder.absolute())
        return LetterMark(path, str(path) if written.removeprefix("file://").startswith(os.sep) else relative, relative)
