"""The settings of a job's Kafka source and sink: from typed settings to those of the connector."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from ferrisstreams.config.batches import meant_strategy
from ferrisstreams.config.resolve import Settings
from ferrisstreams.config.values import Property
from ferrisstreams.connectors.connector import SourceContext
from ferrisstreams.connectors.kafka import producer, source
from ferrisstreams.connectors.kafka.client import ClientProperty, Side, check_properties, merged, texts
from ferrisstreams.connectors.kafka.connector import topic_of
from ferrisstreams.connectors.kafka.share import WHOLE
from ferrisstreams.connectors.kafka.startup import Startup, parse_startup
from ferrisstreams.connectors.kafka.topics import NewTopicSettings
from ferrisstreams.errors import ConfigError, Position, placed_at

#: What a batch strategy suggests beside what is suggested always: batches that must be quick are sent at once.
_QUICK: Mapping[Side, Mapping[str, str]] = {
    "consumer": {"fetch.wait.max.ms": "10", "fetch.queue.backoff.ms": "1", "queued.min.messages": "10000"},
    "producer": {"linger.ms": "0"},
}
_SUGGESTIONS: Mapping[str, Mapping[Side, Mapping[str, str]]] = {"low_latency": _QUICK, "off": _QUICK}


@dataclass(frozen=True, slots=True)
class _Steered:
    """A property of the producer that a key of a strategy sets, and the most that the client takes."""

    name: str
    most: int


_ROWS, _BYTES = _Steered("batch.num.messages", 1_000_000), _Steered("batch.size", (1 << 31) - 1)
_WAIT = _Steered("linger.ms", 900_000)

#: How the producer fills its batches, by the strategy of the job and the keys of it that are given: without them it
#: keeps what is suggested always.
_FILLS: Mapping[str, Mapping[str, _Steered]] = {
    "fixed_size": {"batch.size": _ROWS, "batch.timeout": _WAIT},
    "time_window": {"batch.max_size": _ROWS, "batch.window": _WAIT},
    "adaptive_size": {"batch.max_size": _ROWS, "batch.timeout": _WAIT},
    "memory_based": {"batch.memory_size": _BYTES, "batch.timeout": _WAIT},
    "low_latency": {"batch.max_size": _ROWS},
}

#: Other names of properties that delivery needs, as librdkafka knows them.
_ALIASES = {"request.required.acks": "acks"}


def client_properties(settings: Settings, side: Side, owner: str, strict: bool = True) -> dict[str, ClientProperty]:
    """All properties of a side's client, each with its origin; `strict`: delivery's needs may not be contradicted.

    Raises ConfigError for a missing address, for properties that the client does not know, and for contradictions.
    """
    given = {_ALIASES.get(name, name): prop for name, prop in settings.properties_below("kafka.").items()}
    base = source if side == "consumer" else producer
    by_batches = _batch_properties(settings, side)
    suggested = {**base.SUGGESTED, **{name: value for name, (value, _) in by_batches.items()}}
    because = {name: by for name, (_, by) in by_batches.items()}
    required = base.REQUIRED if strict else {}
    properties = merged(given, required, suggested if strict else {**suggested, **base.REQUIRED}, because)
    check_properties(side, given, base.REQUIRED)
    address = settings.property("bootstrap.servers")
    if address is None:
        raise ConfigError(f"{owner} has no 'bootstrap.servers'", "E3004", "add 'bootstrap.servers' = 'localhost:9092'")
    properties["bootstrap.servers"] = ClientProperty(str(address.value), "given")
    return properties


def all_client_properties(settings: Settings, side: Side, owner: str, strict: bool) -> dict[str, ClientProperty]:
    """With those that are the connector's own, whatever the user says. Raises ConfigError as `client_properties`."""
    own = (source if side == "consumer" else producer).OWN
    fixed = {name: ClientProperty(str(value).lower(), "required") for name, value in own.items()}
    return client_properties(settings, side, owner, strict) | fixed


def _batch_properties(settings: Settings, side: Side) -> dict[str, tuple[str, str]]:
    """What the batch strategy suggests for a client, and the setting that says so.

    It sets the job's batches first. The producer fills its own by the same keys, where they are given.
    """
    meant = meant_strategy(settings) if settings.flag("batch.enable") else ("off", "batch.enable=false")
    strategy, by = meant or ("fixed_size", "")
    found = {name: (value, by) for name, value in _SUGGESTIONS.get(strategy, {}).get(side, {}).items()}
    if side == "consumer":
        return found
    for key, steered in _FILLS.get(strategy, {}).items():
        prop = settings.property(key)
        if prop is not None:
            found[steered.name] = _text(settings.number(key), steered), f"{key}={prop.value}"
    if strategy == "low_latency" and not settings.flag("batch.eager"):
        found["linger.ms"] = _text(settings.number("batch.wait"), _WAIT), "batch.eager=false"
    return found


def _text(value: float, steered: _Steered) -> str:
    """A number as the client reads it: without an exponent, and not more than it takes."""
    bounded = min(value, steered.most)
    return str(int(bounded)) if bounded == int(bounded) else str(bounded)


def kafka_source_settings(context: SourceContext) -> source.KafkaSourceSettings:
    """Raises ConfigError."""
    settings = context.settings
    with placed_at(context.position):
        return source.KafkaSourceSettings(
            topic=topic_of(settings, context.name),
            properties=texts(client_properties(settings, "consumer", f"source {context.name}")),
            group=settings.optional_text("group.id") or context.group,
            startup=_startup(settings.property("startup")),
            bounded=context.once,
            create=new_topic(settings),
            record_bytes_max=settings.integer("max.record.bytes"),
            timestamps=context.timestamps,
            stand_in=context.stand_in,
            share=context.share,
            partitions=context.partitions,
        )


@dataclass(frozen=True, slots=True)
class ProducerContext:
    """What a job writes to topics: its rows to `topic`, the stream `name`, its dead letters to `letters` (None: they go
    elsewhere).

    `settings` are those of sink and job, `reads` are the topics that the job reads.
    """

    name: str
    settings: Settings
    position: Position | None
    topic: str | None
    letters: str | None
    reads: Sequence[SourceContext]
    group: str
    transactional_id: str


def producer_settings(context: ProducerContext) -> producer.KafkaProducerSettings:
    """Of the job's one producer. Where dead letters alone go to a topic, it is on the cluster of the first source.

    Raises ConfigError.
    """
    settings, read = context.settings, next(iter(context.reads), None)
    topics: dict[str, NewTopicSettings | None] = {}
    exactly_once = settings.optional_text("job.mode") != "at_least_once"
    with placed_at(context.position if context.topic is not None or read is None else read.position):
        if context.topic is not None:
            written = client_properties(settings, "producer", f"sink {context.name}", exactly_once)
            _require_timeout(settings)
            topics[context.topic] = new_topic(settings)
            servers = written["bootstrap.servers"].value
            properties = texts(written)
        else:
            assert read is not None, "nothing of the job is in a topic"
            reader = client_properties(read.settings, "consumer", f"source {read.name}")
            servers = reader["bootstrap.servers"].value
            properties = producer.properties_beside(texts(reader))
        if context.letters is not None:
            _refuse_rows(context.letters, topics)
            topics[context.letters] = NewTopicSettings()
        beside = [each for each in context.reads if _same_cluster(each.settings, servers)]
        source_topics = tuple(dict.fromkeys(topic_of(each.settings, each.name) for each in beside))
        _refuse_own(topics, source_topics)
    own_group = _own_group(beside or context.reads)
    return producer.KafkaProducerSettings(
        properties=properties,
        topics=topics,
        group=own_group or context.group,
        transactional_id=context.transactional_id if exactly_once else None,
        source_topics=source_topics,
        share=read.share if read is not None else WHOLE,
        letters=context.letters,
    )


def _refuse_rows(letters: str, rows: Container[str]) -> None:
    if letters in rows:
        raise ConfigError(
            f"'dlq.topic' = '{letters}' is the topic of the results: readers would take letters for rows",
            "E3010",
            "give dead letters a topic of their own",
        )


def _own_group(reads: Sequence[SourceContext]) -> str | None:
    """The group that the sources name, which is the job's. Raises ConfigError E3005 where they name several."""
    named = {read.settings.optional_text("group.id"): read for read in reads}
    if len(named) > 1:
        raise ConfigError(
            f"the sources {', '.join(read.name for read in named.values())} have different groups, and the positions"
            " of a job are those of one",
            "E3005",
            "give all the same 'group.id', or none",
            next(reversed(named.values())).position,
        )
    return next(iter(named), None)


def _refuse_own(topics: Container[str], source_topics: Sequence[str]) -> None:
    """A job that reads what it writes never ends."""
    for topic in source_topics:
        if topic in topics:
            raise ConfigError(
                f"the job would read what it writes: {topic} is the topic of its source",
                "E3010",
                "write to another topic ('topic', or 'dlq.topic' for dead letters)",
            )


def _same_cluster(source_settings: Settings, sink_servers: str) -> bool:
    """Clusters are distinguished by their addresses."""
    servers = source_settings.property("bootstrap.servers")
    return servers is not None and bool(_servers(str(servers.value)) & _servers(sink_servers))


def _servers(value: str) -> set[str]:
    return {server.strip() for server in value.split(",")}


def new_topic(settings: Settings) -> NewTopicSettings | None:
    """How the topic is made when it is not there; None: it is not made."""
    return NewTopicSettings(settings.integer("partitions")) if settings.flag("create.topic") else None


def _startup(prop: Property | None) -> Startup:
    if prop is None:
        return Startup()
    try:
        return parse_startup(str(prop.value))
    except ValueError as error:
        raise ConfigError(f"'startup' = '{prop.value}': {error}", "E3002", None, prop.position) from None


def _require_timeout(settings: Settings) -> None:
    """A transaction that the broker ends before the epoch does is never decided."""
    prop = settings.properties_below("kafka.").get("transaction.timeout.ms")
    interval_ms = settings.duration_ms("commit.interval")
    if prop is not None and str(prop.value).isdecimal() and int(str(prop.value)) <= interval_ms:
        raise ConfigError(
            f"'kafka.transaction.timeout.ms' = {prop.value} is not longer than commit.interval ({interval_ms:.0f} ms)",
            "E3009",
            "make it several times as long, or leave it out",
            prop.position,
        )
