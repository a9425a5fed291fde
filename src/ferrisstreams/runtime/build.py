"""Puts a job's components together: source, decoder, pipeline, encoder, sink."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from ferrisstreams.compile.compiler import CompileSettings, compile_plan, output_schema
from ferrisstreams.compile.message_rows import MessageForm
from ferrisstreams.compile.pipeline import Pipeline
from ferrisstreams.config.formats import format_of
from ferrisstreams.config.values import Property
from ferrisstreams.connectors.base import Sink, Source
from ferrisstreams.connectors.file import encoding_of, has_header
from ferrisstreams.duck.engine import Engine
from ferrisstreams.formats import registry as formats
from ferrisstreams.formats.base import Encoder
from ferrisstreams.formats.settings import DecodeSettings, EncodeSettings
from ferrisstreams.memory_file import MemoryFile
from ferrisstreams.plan.nodes import JobPlan
from ferrisstreams.plan.nodes import Sink as QuerySink
from ferrisstreams.runtime.checks import check_settings
from ferrisstreams.runtime.environment import Environment
from ferrisstreams.runtime.outputs import JobOutputs
from ferrisstreams.schema import Schema


class JobBuilder(JobOutputs):
    """The components of one job, or of one of its workers. Building opens nothing outside; the task does, when it
    recovers."""

    def __init__(self, plan: JobPlan, environment: Environment) -> None:
        super().__init__(plan, environment)
        check_settings(self)

    @cached_property
    def block(self) -> MemoryFile:
        """Where a source puts what the engine may read; made when it is wanted, because most ways in only look."""
        return MemoryFile()

    def close(self) -> None:
        """Give the block back, where there is one."""
        block: MemoryFile | None = self.__dict__.pop("block", None)
        if block is not None:
            block.close()

    def for_worker(self, worker: int | None, workers: int) -> JobBuilder:
        """The components of one of so many workers, whatever `parallelism` says now; None: of all partitions together,
        for looking at them."""
        environment = self.environment
        overrides = {**environment.overrides, "parallelism": Property(workers, origin="state")}
        return JobBuilder(self.plan, replace(environment, worker=worker, overrides=overrides, rows_max=None))

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

    def _message_form(self) -> MessageForm | None:
        if not self.settings.sink_connector.messages:
            return None
        given = self.settings.job.optional_text("key")
        sink = self.plan.plan
        return MessageForm((given,), True) if given is not None else MessageForm(sink.message_key, sink.key_chosen)

    def pipeline(self, engine: Engine, plan: QuerySink) -> Pipeline:
        """Of the job's plan, or of one that means the same."""
        decoder = formats.decoder(engine, self.spec.schema, self._decode_settings())
        return compile_plan(plan, engine, decoder, self.compile_settings())

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

    def source(self) -> Source:
        if self.environment.stand_ins is not None:
            return self.environment.stand_ins.source(self.block)
        return self.settings.source_connector.source(self.source_context(), self.block)

    def sink(self) -> Sink:
        if self.environment.stand_ins is not None:
            return self.environment.stand_ins.sink
        encoder = self.encoder()
        header = encoder.header(self.schema()) if encoder is not None else b""
        return self.settings.sink_connector.sink(self.sink_context(header))

    def _decode_settings(self) -> DecodeSettings:
        settings, own = self.settings.source, self.settings.source_connector.row_format
        time = self.spec.event_time
        common = DecodeSettings(
            format=own or format_of(settings, "source"),
            event_time=time.column if time else None,
            event_time_format=settings.optional_text("event.time.format"),
            timestamp_format=settings.optional_text("timestamp.format"),
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
