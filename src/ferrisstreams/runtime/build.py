"""Puts a job's components together: source, decoder, pipeline, encoder, sink, state."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ferrisstreams.clock import Clock, SystemClock
from ferrisstreams.compile.compiler import CompileSettings, compile_plan, output_schema, take_plan_apart
from ferrisstreams.compile.message_rows import MessageForm
from ferrisstreams.compile.pipeline import Pipeline
from ferrisstreams.compile.sizes import USUAL_SIZES, Sizes
from ferrisstreams.config.resolve import Settings
from ferrisstreams.config.values import Property
from ferrisstreams.connectors.base import Sink, Source, Transactions
from ferrisstreams.connectors.blackhole import BlackholeSink
from ferrisstreams.connectors.datagen import DatagenSettings, DatagenSource
from ferrisstreams.connectors.file_settings import FileSourceSettings
from ferrisstreams.connectors.file_sink import FileSink, FileSinkSettings
from ferrisstreams.connectors.file_source import FileSource
from ferrisstreams.connectors.kafka.share import WHOLE, Share
from ferrisstreams.connectors.output_names import is_pattern
from ferrisstreams.connectors.set_aside import SetAside
from ferrisstreams.connectors.stdout_sink import StdoutSink
from ferrisstreams.duck.engine import Engine
from ferrisstreams.errors import ConfigError, placed_at
from ferrisstreams.formats import registry as formats
from ferrisstreams.formats.base import Encoder
from ferrisstreams.formats.settings import DecodeSettings, EncodeSettings
from ferrisstreams.memory_file import MemoryFile
from ferrisstreams.plan.nodes import JobPlan, SourceSpec
from ferrisstreams.plan.nodes import Sink as QuerySink
from ferrisstreams.plan.system_columns import RECORD_TIME, used_system_columns
from ferrisstreams.runtime.batching import SourceKind, Strategy, choose_strategy
from ferrisstreams.runtime.deadletter import DeadLetters, LetterContext, as_messages
from ferrisstreams.runtime.failures import FailurePolicy
from ferrisstreams.runtime.faults import Faults, NoFaults
from ferrisstreams.runtime.files import (
    SinkPlace,
    encoding_of,
    file_sink,
    format_of,
    has_header,
    output_names,
    source_files,
)
from ferrisstreams.runtime.identity import JobIdentity, require_name
from ferrisstreams.runtime.layout import read_layout, worker_folder
from ferrisstreams.runtime.letter_mark import COMPANIONS, LetterMark
from ferrisstreams.runtime.observer import Observer, Silent
from ferrisstreams.runtime.parallelism import check_parallelism
from ferrisstreams.runtime.settings import JobSettings, failure_policy, settings_of
from ferrisstreams.schema import Schema

if TYPE_CHECKING:
    from ferrisstreams.connectors.kafka.producer import KafkaProducer
    from ferrisstreams.connectors.kafka.source import KafkaSourceSettings
    from ferrisstreams.connectors.kafka.topics import NewTopicSettings

Component = TypeVar("Component", Source, Sink)


@dataclass(frozen=True, slots=True)
class StandIns:
    """Components that stand in for the declared connectors; formats and settings stay as declared.

    `source` is given the block of memory that the engine may read.
    """

    source: Callable[[MemoryFile], Source]
    sink: Sink
    dead_letters: Sink
    transactions: Transactions | None = None


@dataclass(frozen=True, slots=True)
class Environment:
    """What surrounds a job: folders, components, and the sources and sinks in memory that it may name.

    `state_root` None keeps state in memory. `strict`: over a bounded source a row that fails stops the job, where no
    failure strategy is named. `engine` is given by tests that let it survive a crash. `worker`: which one of several
    (`parallelism`) this process is; None: not one of several. `sizes`: tests have other ones.
    """

    application: str
    folder: Path
    state_root: Path | None = None
    overrides: Mapping[str, Property] = field(default_factory=dict)
    overwrite: bool = False
    once: bool = False
    drain: bool = False
    while_open: int | None = None
    rows_max: int | None = None
    clock: Clock = field(default_factory=SystemClock)
    faults: Faults = field(default_factory=NoFaults)
    observer: Observer = field(default_factory=Silent)
    memory_sources: Mapping[str, Source] = field(default_factory=dict)
    memory_sinks: Mapping[str, Sink] = field(default_factory=dict)
    engine: Engine | None = None
    stand_ins: StandIns | None = None
    worker: int | None = None
    sizes: Sizes = USUAL_SIZES
    strict: bool = False


class JobBuilder:
    """The components of one job, or of one of its workers. Building opens nothing outside; the task does, when it
    recovers.

    `parallelism` is how many workers the job has, `share` what this one reads of a topic. Without a worker's number
    that is all of it, which is for looking at the job and not for running it.
    """

    def __init__(self, plan: JobPlan, environment: Environment) -> None:
        self.plan = plan
        self.environment = environment
        written = plan.annotations.get("name")
        with placed_at(written.position if written is not None else plan.position):
            require_name("job", plan.name)
        self.identity = JobIdentity(environment.application, plan.name)
        self.spec: SourceSpec = take_plan_apart(plan.plan).scan.source
        self.settings: JobSettings = settings_of(plan, self.spec, environment.overrides)
        # What stands in for a topic has no partitions that could be dealt: one task reads it.
        alone = environment.stand_ins is not None
        self.parallelism = 1 if alone else self.settings.job.integer("parallelism")
        self.share = WHOLE if environment.worker is None else Share(environment.worker, self.parallelism)
        self._check()

    @cached_property
    def block(self) -> MemoryFile:
        """Where a source puts what the engine may read; made when it is wanted, because most ways in only look."""
        return MemoryFile()

    def close(self) -> None:
        """Give the block back, where there is one."""
        block: MemoryFile | None = self.__dict__.pop("block", None)
        if block is not None:
            block.close()

    def of_worker(self, worker: int | None, workers: int) -> JobBuilder:
        """The components of one of so many workers, whatever `parallelism` says now; None: of all partitions together,
        for looking at them."""
        environment = self.environment
        overrides = {**environment.overrides, "parallelism": Property(workers, origin="state")}
        return JobBuilder(self.plan, replace(environment, worker=worker, overrides=overrides, rows_max=None))

    def _check(self) -> None:
        job, source = self.settings.job, self.settings.source
        self.strategy()
        durable = self.settings.sink_connector not in ("stdout",)
        if job.optional_text("job.mode") == "exactly_once" and not durable:
            prop = job.property("job.mode")
            raise ConfigError(
                "standard output cannot take back what was written: exactly_once is not possible",
                "E3005",
                "use 'job.mode' = 'at_least_once', or a file",
                prop.position if prop else None,
            )
        changes = self.plan.plan.headers
        if changes and self.settings.sink_connector != "kafka":
            raise ConfigError(
                f"the header {changes[0].name} cannot be written: the output has no headers",
                "E3005",
                "write to a topic ('connector' = 'kafka'), or leave the item out",
                changes[0].position,
            )
        if source.text("late.data.strategy") == "update" and source.duration_ms("allowed.lateness") == 0:
            prop = source.property("late.data.strategy")
            raise ConfigError(
                "'late.data.strategy' = 'update' without 'allowed.lateness' would never update",
                "E3005",
                "set 'allowed.lateness' to how late a row may be",
                prop.position if prop else None,
            )

        if self.environment.stand_ins is None:
            several = self.parallelism > 1
            letters_in_file = several and self.needs_dead_letters and self.dead_letter_topic() is None
            check_parallelism(self.plan, self.settings, letters_in_file)
        if self.parallelism > 1:
            self._check_workers()

    def _check_workers(self) -> None:
        """Raises ConfigError for what is not to be had with several workers."""
        prop = self.settings.job.property("parallelism")
        position = prop.position if prop is not None else None
        if self.environment.rows_max is not None:
            raise ConfigError(
                f"--max-records of {self.plan.name}, which has {self.parallelism} workers ('parallelism'): they cannot"
                " stop together at a record",
                "E3006",
                "leave one of them out: --set parallelism=1",
                position,
            )
        if self.transactions() is not None and self.producer.source_topic is None:
            raise ConfigError(
                f"{self.plan.name} cannot have {self.parallelism} workers ('parallelism'): its topics are on two"
                " clusters, and each worker's positions are decided by its own partitions on the cluster of the output",
                "E3006",
                "leave 'parallelism' out, or use 'job.mode' = 'at_least_once'",
                position,
            )

    # --- settings ---------------------------------------------------------------------------------------------------

    def compile_settings(self) -> CompileSettings:
        source = self.settings.source
        inputs, outputs = self.input_failures, self.output_failures
        ahead_ms = source.optional_number("watermark.max_ahead")
        clock = self.environment.clock
        return CompileSettings(
            encoder=self.encoder(),
            allowed_lateness_us=int(source.duration_ms("allowed.lateness") * 1000),
            late_strategy=source.text("late.data.strategy"),
            changelog=self.settings.job.optional_text("changelog"),
            retries=lambda: inputs.waits(clock),
            output_retries=lambda: outputs.waits(clock),
            max_ahead_us=int(ahead_ms * 1000) if ahead_ms is not None else None,
            messages=self._message_form(),
            sizes=self.environment.sizes,
        )

    @property
    def source_can_go_on(self) -> bool:
        """Whether more may come after the source has said that it ended: of a topic, `--once` reads what is there."""
        if self.environment.stand_ins is not None:
            return False
        connector = self.settings.source_connector
        return connector == "kafka" or (connector == "file" and self.settings.source.flag("watch"))

    @property
    def stops_when_caught_up(self) -> bool:
        """Whether `--once` ends when the source gives nothing at the moment. A topic says itself when it has given what
        was there, and the rows of `datagen` have an end."""
        rows = self.settings.source_connector == "datagen" and self.settings.source.optional_integer("rows")
        return self.settings.source_connector != "kafka" and not rows

    @property
    def stateless(self) -> bool:
        """Whether the plan keeps no state: kept rows are emitted at once."""
        return take_plan_apart(self.plan.plan).aggregate is None

    @property
    def windowed(self) -> bool:
        """Whether results wait for the watermark."""
        aggregate = take_plan_apart(self.plan.plan).aggregate
        return aggregate is not None and aggregate.window is not None

    @property
    def needs_dead_letters(self) -> bool:
        """Whether any strategy may send a row to the dead letters."""
        return "dlq" in (self.input_failures.route, self.output_failures.route) or (
            self.settings.source.text("late.data.strategy") == "dead_letter"
        )

    @property
    def input_failures(self) -> FailurePolicy:
        """What becomes of a row of the source that fails."""
        return self._failures(self.settings.source)

    @property
    def output_failures(self) -> FailurePolicy:
        """What becomes of a row that cannot be written."""
        return self._failures(self.settings.sink)

    def is_strict(self) -> bool:
        """Whether a row that fails stops the job, although no strategy says so."""
        sides = (self.settings.source, self.settings.sink)
        return self._stops_bounded and not all(side.given("failure_strategy") for side in sides)

    def _failures(self, side: Settings) -> FailurePolicy:
        if self._stops_bounded and not side.given("failure_strategy"):
            return FailurePolicy("fail")
        return failure_policy(side)

    @property
    def _stops_bounded(self) -> bool:
        source = self.settings.source
        match self.settings.source_connector:
            case "file":
                endless = source.flag("watch")
            case "datagen":
                endless = source.optional_integer("rows") is None
            case "kafka":
                endless = True
            case _:
                endless = False
        return self.environment.strict and (self.environment.once or not endless)

    def _message_form(self) -> MessageForm | None:
        if self.settings.sink_connector != "kafka":
            return None
        given = self.settings.job.optional_text("key")
        sink = self.plan.plan
        return MessageForm((given,), True) if given is not None else MessageForm(sink.message_key, sink.key_chosen)

    # --- components -------------------------------------------------------------------------------------------------

    def strategy(self) -> Strategy:
        """What ends a batch. Raises ConfigError E3005 for keys of another strategy."""
        source, connector = self.settings.source, self.settings.source_connector
        kind: SourceKind = "topic" if connector == "kafka" else "other"
        if connector == "file" and not source.flag("watch"):
            kind = "bounded file"
        return choose_strategy(source, kind, self.stateless)

    def pipeline(self, engine: Engine, plan: QuerySink) -> Pipeline:
        """Of the job's plan, or of one that means the same."""
        decoder = formats.decoder(engine, self.spec.schema, self._decode_settings())
        return compile_plan(plan, engine, decoder, self.compile_settings())

    def encoder(self) -> Encoder | None:
        """None for a sink in memory, which takes typed tables."""
        if self.settings.sink_connector in ("memory", "blackhole"):
            return None
        job = self.settings.job
        return formats.encoder(
            EncodeSettings(
                format=format_of(job, "sink"),
                header=self.settings.sink_connector != "kafka" and has_header(job),
                delimiter=job.text("delimiter"),
                quote=job.text("quote"),
                null=job.text("nulls"),
            )
        )

    def schema(self) -> Schema:
        """The columns of the rows that the sink is given."""
        return output_schema(self.plan.plan, self.compile_settings())

    def source(self) -> Source:
        settings = self.settings.source
        if self.environment.stand_ins is not None:
            return self.environment.stand_ins.source(self.block)
        match self.settings.source_connector:
            case "memory":
                return self._in_memory(self.environment.memory_sources, self.spec.name, "source")
            case "datagen":
                return DatagenSource(
                    DatagenSettings(settings.optional_integer("rows"), settings.optional_number("rate")),
                    self.environment.clock,
                )
            case "kafka":
                # Imported where it is used: a job between files does without the client.
                from ferrisstreams.connectors.kafka.source import KafkaSource

                return KafkaSource(self.kafka_source_settings(), self.block, self.environment.clock)
            case _:
                return FileSource(self.file_source_settings(), self.block, self.environment.clock)

    def sink(self) -> Sink:
        if self.environment.stand_ins is not None:
            return self.environment.stand_ins.sink
        match self.settings.sink_connector:
            case "memory":
                return self._in_memory(self.environment.memory_sinks, self.plan.plan.spec.name, "sink")
            case "stdout":
                return StdoutSink(header=self._header())
            case "blackhole":
                return BlackholeSink()
            case "kafka":
                return self._topic_sink(self.sink_topic())
            case _:
                place = SinkPlace(str(self.sink_path()), self._header(), self.environment.overwrite)
                return file_sink(self.settings.job, place, self.environment.clock)

    @cached_property
    def producer(self) -> KafkaProducer:
        """The one producer of the job's outputs and dead letters; it connects when it is used."""
        from ferrisstreams.connectors.kafka.producer import KafkaProducer
        from ferrisstreams.connectors.kafka.topics import NewTopicSettings
        from ferrisstreams.runtime import kafka_settings

        letters = self.dead_letter_topic()
        read = None
        if self.settings.source_connector == "kafka":
            topic = kafka_settings.source_topic(self.settings.source, self.spec.name)
            read = kafka_settings.SourceTopic(topic, self.share)
        if self.settings.sink_connector != "kafka":
            assert letters is not None, "nothing of the job is written to Kafka"
            assert read is not None, "letters alone go to the cluster of the source"
            with placed_at(self.spec.position):
                settings = kafka_settings.letter_producer_settings(
                    self.settings, self.spec.name, self.identity, letters, read
                )
            return KafkaProducer(replace(settings, letters=letters), self.environment.clock)
        topics: dict[str, NewTopicSettings | None] = {self.sink_topic(): kafka_settings.new_topic(self.settings.job)}
        if self.needs_dead_letters and letters is not None:
            if letters in topics:
                raise ConfigError(
                    f"'dlq.topic' = '{letters}' is the topic of the results: readers would take letters for rows",
                    "E3010",
                    "give dead letters a topic of their own",
                    self.plan.position,
                )
            topics[letters] = NewTopicSettings()
        with placed_at(self.plan.position):
            settings = kafka_settings.kafka_producer_settings(
                self.settings, self.plan.name, self.identity, topics, read
            )
        return KafkaProducer(replace(settings, letters=letters), self.environment.clock)

    def _topic_sink(self, topic: str) -> Sink:
        from ferrisstreams.connectors.kafka.sink import KafkaSink

        return KafkaSink(self.producer, topic)

    def sink_topic(self) -> str:
        """The topic of a Kafka sink."""
        return self.settings.job.optional_text("topic") or self.plan.plan.spec.name

    def kafka_source_settings(self) -> KafkaSourceSettings:
        """Of a Kafka source."""
        from ferrisstreams.runtime.kafka_settings import kafka_source_settings

        layout = read_layout(self.job_folder()) if self.share.workers > 1 else None
        partitions = layout.partitions if layout is not None else None
        timed = any(column.name == RECORD_TIME for column in used_system_columns(self.plan.plan))
        with placed_at(self.spec.position):
            settings = kafka_source_settings(
                self.settings.source, self.spec.name, self.identity, self.environment.once, self.share, partitions
            )
        return replace(settings, timestamps=timed or self.needs_dead_letters)

    def dead_letters(self) -> DeadLetters | None:
        if not self.needs_dead_letters:
            return None
        version = self.plan.annotations.get("version")
        context = LetterContext(
            job=f"{self.identity.application}.{self.identity.job}",
            version=str(version.value) if version else "",
            connector=self.settings.source_connector,
        )
        if self.environment.stand_ins is None and (topic := self.dead_letter_topic()) is not None:
            return DeadLetters(self._topic_sink(topic), context, form=as_messages)
        final = self.letter_mark() if self.environment.stand_ins is None else None
        return DeadLetters(self._dead_letter_sink(), context, final)

    def transactions(self) -> Transactions | None:
        """What decides the job's epochs; None: the state file."""
        if self.environment.stand_ins is not None:
            return self.environment.stand_ins.transactions
        in_topics = self.settings.sink_connector == "kafka" or (
            self.needs_dead_letters and self.dead_letter_topic() is not None
        )
        return self.producer if in_topics and self.producer.transactional else None

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
        if self.settings.sink_connector == "kafka" or (self.settings.source_connector == "kafka" and keeps_state):
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

    def replaced(self) -> tuple[SetAside, ...]:
        """Where the output and the dead letters lie meanwhile that `--overwrite` replaces."""
        if self.environment.stand_ins is not None:
            return ()
        places = []
        if self.settings.sink_connector == "file":
            path = str(self.sink_path())
            names = output_names(self.settings.job, path)
            places.append(names.claimed if names is not None else os.path.realpath(path))
        if self.needs_dead_letters and self.dead_letter_topic() is None:
            places.append(os.path.realpath(self.dead_letter_path()))
        return tuple(map(SetAside, places))

    def dead_letter_path(self) -> Path:
        """Beside the sink's file, else beside the application."""
        given = self.settings.job.optional_text("dlq.path")
        if given is not None:
            return self.path(given, "dlq.path")
        folder = self.environment.folder
        if self.settings.sink_connector == "file":
            folder = self.sink_path().parent
            while is_pattern(str(folder)):
                folder = folder.parent
        return folder / self.identity.dead_letter_file

    def sink_path(self) -> Path:
        """The file of a file sink, or the pattern of its files."""
        with placed_at(self.plan.position):
            return self.path(self.settings.job.optional_text("path"), f"sink {self.plan.name}")

    def letter_mark(self) -> LetterMark:
        path = self.dead_letter_path()
        job = self.settings.job
        written = job.optional_text("dlq.path") or job.optional_text("path") or ""
        relative = os.path.relpath(path, self.environment.folder.absolute())
        return LetterMark(path, str(path) if written.removeprefix("file://").startswith(os.sep) else relative, relative)

    def path(self, path: str | None, owner: str) -> Path:
        """A path of the application, absolute."""
        if path is None:
            raise ConfigError(f"{owner} has no 'path'", "E3004", "add 'path' = 'file'")
        return (self.environment.folder / path.removeprefix("file://")).absolute()

    def job_folder(self) -> Path:
        """The folder of all that the job keeps."""
        given = self.settings.job.optional_text("state.dir")
        root = (self.environment.folder / given).absolute() if given else self.environment.state_root
        assert root is not None, "the job keeps its state in memory"
        return self.identity.folder(root)

    def state_folder(self) -> Path:
        """The folder of the state; of several workers that of this one."""
        return worker_folder(self.job_folder(), self.share)

    # --- private ----------------------------------------------------------------------------------------------------

    @staticmethod
    def _in_memory(found: Mapping[str, Component], name: str, kind: str) -> Component:
        if name not in found:
            raise ConfigError(
                f"there is no {kind} in memory named {name}",
                "E3004",
                "the memory connector belongs to the library: fs.query(sql, name=table)",
            )
        return found[name]

    def file_source_settings(self) -> FileSourceSettings:
        """Of a file source."""
        settings = self.settings.source
        with placed_at(self.spec.position):
            path = str(self.path(settings.optional_text("path"), f"source {self.spec.name}"))
            return replace(source_files(settings, path), while_open=self.environment.while_open)

    def _decode_settings(self) -> DecodeSettings:
        settings = self.settings.source
        time = self.spec.event_time
        connector = self.settings.source_connector
        common = DecodeSettings(
            format="arrow",
            event_time=time.column if time else None,
            event_time_format=settings.optional_text("event.time.format"),
            timestamp_format=settings.optional_text("timestamp.format"),
        )
        match connector:
            case "memory":
                return common
            case "datagen":
                return replace(
                    common, format="datagen", fields=settings.below("fields."), seed=settings.integer("seed")
                )
            case _:
                return replace(
                    common,
                    format=format_of(settings, "source"),
                    encoding=encoding_of(settings) if connector == "file" else "utf-8",
                    header=connector == "file" and has_header(settings),
                    delimiter=settings.text("delimiter"),
                    quote=settings.text("quote"),
                    nulls=(settings.text("nulls"),),
                )

    def _header(self) -> bytes:
        encoder = self.encoder()
        return encoder.header(self.schema()) if encoder is not None else b""
