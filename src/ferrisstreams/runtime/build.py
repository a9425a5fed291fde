"""Puts a job's components together: source, decoder, pipeline, encoder, sink."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from ferrisstreams.compile.compiler import compile_plan, output_schema, state_kinds
from ferrisstreams.compile.message_rows import MessageForm
from ferrisstreams.compile.pipeline import Pipeline
from ferrisstreams.compile.settings import CompileSettings, InputSettings
from ferrisstreams.config.formats import changes_of, format_of
from ferrisstreams.config.values import Property
from ferrisstreams.connectors.base import Sink, Source
from ferrisstreams.connectors.file import encoding_of, has_header
from ferrisstreams.duck.engine import Engine
from ferrisstreams.errors import placed_at
from ferrisstreams.formats import registry as formats
from ferrisstreams.formats.base import Encoder
from ferrisstreams.formats.settings import DecodeSettings, EncodeSettings
from ferrisstreams.memory_file import MemoryFile
from ferrisstreams.plan.bounds import Growth, growths
from ferrisstreams.plan.nodes import JobPlan
from ferrisstreams.plan.nodes import Sink as QuerySink
from ferrisstreams.runtime.checks import check_settings
from ferrisstreams.runtime.environment import Environment
from ferrisstreams.runtime.outputs import JobOutputs
from ferrisstreams.runtime.settings import SourceSettings
from ferrisstreams.runtime.sources import Member
from ferrisstreams.schema import Schema


class JobBuilder(JobOutputs):
    """The components of one job, or of one of its workers. Building opens nothing outside; the task does, when it
    recovers."""

    def __init__(self, plan: JobPlan, environment: Environment) -> None:
        super().__init__(plan, environment)
        check_settings(self)

    @cached_property
    def blocks(self) -> dict[str, MemoryFile]:
        """Where each source puts what the engine may read. Made when they are wanted: most ways in only look."""
        return {source.spec.name: MemoryFile() for source in self.sources}

    def close(self) -> None:
        """Give the blocks back, where there are any."""
        blocks: dict[str, MemoryFile] = self.__dict__.pop("blocks", {})
        for block in blocks.values():
            block.close()

    def for_worker(self, worker: int | None, workers: int) -> JobBuilder:
        """The components of one of so many workers, whatever `parallelism` says now; None: of all partitions together,
        for looking at them."""
        environment = self.environment
        overrides = {**environment.overrides, "parallelism": Property(workers, origin="state")}
        return JobBuilder(self.plan, replace(environment, worker=worker, overrides=overrides, rows_max=None))

    def compile_settings(self) -> CompileSettings:
        outputs, clock = self.output_failures, self.environment.clock
        return CompileSettings(
            encoder=self.encoder(),
            late_strategy=self.sources[0].values.text("late.data.strategy"),
            changelog=self.settings.job.optional_text("changelog"),
            output_retries=lambda: outputs.waits(clock),
            messages=self._message_form(),
            sizes=self.environment.sizes,
        )

    def _message_form(self) -> MessageForm | None:
        if not self.settings.sink_connector.messages:
            return None
        given = self.settings.job.optional_text("key")
        sink = self.plan.plan
        return MessageForm((given,), True) if given is not None else MessageForm(sink.message_key, sink.key_chosen)

    def pipeline(self, engine: Engine, plan: QuerySink) -> Pipeline:
        """Of the job's plan, or of one that means the same."""
        inputs = {source.spec.name: self._input(engine, source) for source in self.sources}
        return compile_plan(plan, engine, inputs, self.compile_settings())

    def _input(self, engine: Engine, source: SourceSettings) -> InputSettings:
        failures, clock = self.input_failures(source), self.environment.clock
        ahead_ms = source.values.optional_number("watermark.max_ahead")
        return InputSettings(
            decoder=formats.decoder(engine, source.spec.schema, _decode_settings(source)),
            allowed_lateness_us=int(source.values.duration_ms("allowed.lateness") * 1000),
            max_ahead_us=int(ahead_ms * 1000) if ahead_ms is not None else None,
            retries=lambda: failures.waits(clock),
        )

    def growths(self) -> list[Growth]:
        """State that nothing bounds, of a source that does not end."""
        return growths(self.plan.plan, state_kinds) if self.is_endless else []

    def encoder(self) -> Encoder | None:
        """None for a sink in memory, which takes typed tables."""
        if self.settings.sink_connector.row_format is not None:
            return None
        job = self.settings.job
        return formats.encoder(
            EncodeSettings(
                format=format_of(job, "sink"),
                header=has_header(job),
                delimiter=job.text("delimiter"),
                quote=job.text("quote"),
                null=job.text("nulls"),
            )
        )

    def schema(self) -> Schema:
        """The columns of the rows that the sink is given."""
        return output_schema(self.plan.plan, self.compile_settings())

    def member(self, source: SourceSettings) -> Member:
        """A source as one of the job's."""
        return Member(
            name=self.key_name(source),
            source=self._opened(source),
            strategy=self.strategy(source),
            ends_when_quiet=self.environment.once and self.stops_when_caught_up(source),
            twin=self.twin(source),
            first=bool(source.spec.key),
        )

    def twin(self, source: SourceSettings) -> str | None:
        """The first source that reads the same topic, where that is another one."""
        if not source.connector.messages:
            return None
        data = source.connector.data(self.source_context(source))
        before = self.sources[: self.sources.index(source)]
        topics = (other for other in before if other.connector is source.connector)
        same = (other for other in topics if other.connector.data(self.source_context(other)) == data)
        first = next(same, None)
        return first.spec.name if first is not None else None

    def _opened(self, source: SourceSettings) -> Source:
        block = self.blocks[source.spec.name]
        if self.environment.stand_ins is not None:
            return self.environment.stand_ins.source(source.spec.name, block)
        context = self.source_context(source)
        if source.spec.key and source.connector.messages:
            from ferrisstreams.formats.changes import record_of_nulls

            with placed_at(source.spec.position):
                stand_in = record_of_nulls(source.spec.schema, _decode_settings(source))
            context = replace(context, stand_in=stand_in)
        return source.connector.source(context, block)

    def sink(self) -> Sink:
        if self.environment.stand_ins is not None:
            return self.environment.stand_ins.sink
        encoder = self.encoder()
        header = encoder.header(self.schema()) if encoder is not None else b""
        return self.settings.sink_connector.sink(self.sink_context(header))


def _decode_settings(source: SourceSettings) -> DecodeSettings:
    settings, own = source.values, source.connector.row_format
    time = source.spec.event_time
    common = DecodeSettings(
        format=own or format_of(settings, "source"),
        event_time=time.column if time else None,
        event_time_format=settings.optional_text("event.time.format"),
        timestamp_format=settings.optional_text("timestamp.format"),
        key=source.spec.key,
        changes=changes_of(source.spec.properties) if source.spec.key else None,
    )
    if own is not None:
        seed = settings.integer("seed") if settings.has("seed") else 0
        return replace(common, fields=settings.below("fields."), seed=seed)
    return replace(
        common,
        encoding=encoding_of(settings),
        header=has_header(settings),
        delimiter=settings.text("delimiter"),
        quote=settings.text("quote"),
        nulls=(settings.text("nulls"),),
    )
