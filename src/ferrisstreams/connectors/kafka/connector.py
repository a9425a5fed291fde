"""The Kafka connector. Its parts are imported where they are used, because they bring the client."""

from __future__ import annotations

from ferrisstreams.batch import JsonValue
from ferrisstreams.config.batches import SourceKind
from ferrisstreams.config.resolve import Settings
from ferrisstreams.connectors.base import Sink, Source
from ferrisstreams.connectors.connector import Connector, SinkContext, SourceContext
from ferrisstreams.memory_file import MemoryFile


class KafkaConnector(Connector):
    """A stream is a topic."""

    name = "kafka"
    reads = True
    writes = True
    messages = True
    transactions = True
    several_writers = True
    fills_batches = True

    def source(self, context: SourceContext, block: MemoryFile) -> Source:
        from ferrisstreams.connectors.kafka.settings import kafka_source_settings
        from ferrisstreams.connectors.kafka.source import KafkaSource

        return KafkaSource(kafka_source_settings(context), block, context.clock)

    def data(self, context: SourceContext) -> dict[str, JsonValue]:
        return {"topic": topic_of(context.settings, context.name)}

    def is_endless(self, settings: Settings) -> bool:
        return True

    def is_done_when_caught_up(self, settings: Settings) -> bool:
        return False

    def source_kind(self, settings: Settings) -> SourceKind:
        return "topic"

    def sink(self, context: SinkContext) -> Sink:
        from ferrisstreams.connectors.kafka.sink import KafkaSink

        assert context.producer is not None, "the job has no producer"
        return KafkaSink(context.producer(), topic_of(context.settings, context.name))


def topic_of(settings: Settings, name: str) -> str:
    """The topic of the stream `name`."""
    return settings.optional_text("topic") or name
