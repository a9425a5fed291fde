"""String references that say more than a path: `'kafka://host:9092,other:9092/topic?group_id=g'`."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from ferrisstreams.config.values import Property
from ferrisstreams.plan.nodes import SourceSpec
from ferrisstreams.schema import Schema
from ferrisstreams.sql.context import Context
from ferrisstreams.sql.statements import Name

KAFKA_SCHEME = "kafka://"


def kafka_source(context: Context, name: Name) -> SourceSpec:
    """The source of a Kafka reference, without columns; parameters are settings. Raises `SqlError`."""
    place = context.source.position(name.span)
    parts = urlsplit(name.text)
    topic = parts.path.strip("/")
    if not parts.netloc or not topic or "/" in topic or parts.fragment:
        raise context.error(
            name.span,
            f"{name.text!r} is not a reference to a topic",
            "E1206",
            "write 'kafka://host:9092/topic', with several hosts 'kafka://one:9092,two:9092/topic'",
        )
    if "@" in parts.netloc:
        raise context.error(
            name.span, "a reference holds no user and no password", "E1206", "declare the stream, and configure them"
        )
    properties = {
        "connector": Property("kafka", place),
        "bootstrap.servers": Property(parts.netloc, place),
        "topic": Property(topic, place),
    }
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        properties[key.replace("_", ".").lower()] = Property(value, place)
    return SourceSpec(topic, Schema(()), None, properties, place)
