"""Topics of a cluster: what there is, and making them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition, Uuid
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.cimpl import NewPartitions, NewTopic

from ferrisstreams.clock import Clock, SystemClock
from ferrisstreams.connectors.kafka.topic_rules import TopicSettings, settings_of
from ferrisstreams.connectors.kafka.translation import error_of, kafka_error, translated
from ferrisstreams.errors import FatalConnectorError, TransientError

#: How long the cluster may take for one request.
REQUEST_TIMEOUT_SECONDS = 15.0
#: What a cluster says that is older than topic ids.
_NO_ID = str(Uuid(0, 0))
_SETTLE_NAP_MS = 20.0
_SETTLE_NAPS_MAX = 500

#: For a look at all that is committed.
_READ_TO_END = {"isolation.level": "read_committed", "enable.partition.eof": True, "auto.offset.reset": "error"}

#: Of the client's properties those that say how to reach a cluster.
_CONNECTION_PREFIXES = ("bootstrap.", "sasl.", "ssl.", "security.", "client.", "socket.", "broker.")


@dataclass(frozen=True, slots=True)
class NewTopicSettings:
    """A topic to be made; `config` are the topic's own settings (`retention.ms`). The broker's default replication."""

    partitions: int = 1
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """What a cluster says of a topic. `id` is another one when the topic is recreated; None: the cluster has none."""

    partitions: int
    id: str | None


class Topics:
    """Administration of topics. `properties` are the client's; only those of the connection are used.

    A change is seen by the next question of the same object.
    """

    def __init__(self, properties: Mapping[str, str], clock: Clock | None = None) -> None:
        self._properties = connection_properties(properties)
        self._admin = AdminClient(self._properties)
        self._clock = clock or SystemClock()

    def partitions(self, topic: str) -> int | None:
        """How many partitions a topic has; None when there is no such topic. Raises ConnectorError."""
        found = self.facts(topic)
        return found.partitions if found is not None else None

    def facts(self, topic: str, timeout_seconds: float = REQUEST_TIMEOUT_SECONDS) -> TopicFacts | None:
        """None when there is no such topic. Raises ConnectorError."""
        # Not by `list_topics`: that makes a topic on clusters that make topics on demand.
        waiting = self._admin.describe_topics(TopicCollection([topic]), request_timeout=timeout_seconds)
        try:
            found = waiting[topic].result()
            return TopicFacts(len(found.partitions), None if (id := str(found.topic_id)) == _NO_ID else id)
        except KafkaException as raised:
            error = error_of(raised)
            if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return None
            raise kafka_error(error, f"ask for the topic {topic}") from raised

    def names(self) -> list[str]:
        """All topics but the cluster's own. Raises ConnectorError."""
        with translated("list the topics"):
            return sorted(
                name
                for name in self._admin.list_topics(timeout=REQUEST_TIMEOUT_SECONDS).topics
                if not name.startswith("__")
            )

    def create(self, topic: str, settings: NewTopicSettings) -> bool:
        """Make a topic; False when it is there already. Raises ConnectorError."""
        new = NewTopic(topic, settings.partitions, config=dict(settings.config))
        waiting = self._admin.create_topics([new], operation_timeout=REQUEST_TIMEOUT_SECONDS)
        try:
            waiting[topic].result()
        except KafkaException as raised:
            error = error_of(raised)
            if error.name() == "TOPIC_ALREADY_EXISTS":
                self._settle(topic, None, there=True)
                return False
            raise kafka_error(error, f"make the topic {topic}") from raised
        self._settle(topic, settings.partitions)
        return True

    def delete(self, topic: str) -> None:
        """Delete a topic. Raises ConnectorError."""
        with translated(f"delete the topic {topic}"):
            self._admin.delete_topics([topic], operation_timeout=REQUEST_TIMEOUT_SECONDS)[topic].result()
        self._settle(topic, None)

    def grow(self, topic: str, partitions: int) -> None:
        """Give a topic more partitions. Raises ConnectorError."""
        with translated(f"give the topic {topic} more partitions"):
            self._admin.create_partitions([NewPartitions(topic, partitions)])[topic].result()
        self._settle(topic, partitions)

    def is_empty(self, topic: str, ends: Mapping[int, int]) -> bool:
        """Whether a topic with these `ends` holds no record, and none is being written: what transactions have aborted
        does not count. Raises ConnectorError."""
        left = {number: end for number, end in ends.items() if end}
        if not left:
            return True
        reader = Consumer({**self._properties, "group.id": topic, "enable.auto.commit": False, **_READ_TO_END})
        try:
            with translated(f"read the topic {topic}"):
                reader.assign([TopicPartition(topic, number, 0) for number in left])
            while left:
                message = reader.poll(REQUEST_TIMEOUT_SECONDS)
                if message is None or (error := message.error()) is None or (number := message.partition()) is None:
                    return False
                # Short of the end: a transaction is open.
                if error.code() != KafkaError._PARTITION_EOF or message.offset() != left.pop(number, None):
                    return False
        finally:
            reader.close()
        return True

    def settings(self, topic: str) -> TopicSettings:
        """What a topic that is there is set to. Raises ConnectorError."""
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        for nap in range(_SETTLE_NAPS_MAX + 1):
            try:
                with translated(f"ask for the settings of the topic {topic}"):
                    asked = self._admin.describe_configs([resource], request_timeout=REQUEST_TIMEOUT_SECONDS)
                    found = asked[resource].result()
                break
            except FatalConnectorError as error:
                # The settings of a topic that another worker has just made are known a little later than the topic.
                if error.code != "E4103" or nap == _SETTLE_NAPS_MAX or self.partitions(topic) is None:
                    raise
                self._clock.sleep_ms(_SETTLE_NAP_MS)
        return settings_of({name: entry.value for name, entry in found.items()})

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Delete the records of a partition before `offset`. Raises ConnectorError."""
        upto = TopicPartition(topic, partition, offset)
        with translated(f"delete records of the topic {topic}"):
            for waiting in self._admin.delete_records([upto]).values():
                waiting.result()

    def forget_group(self, group: str) -> None:
        """Delete a group with all that it has committed. Raises ConnectorError."""
        try:
            self._admin.delete_consumer_groups([group], request_timeout=REQUEST_TIMEOUT_SECONDS)[group].result()
        except KafkaException as raised:
            error = error_of(raised)
            if error.code() != KafkaError.GROUP_ID_NOT_FOUND:
                raise kafka_error(error, f"delete the group {group}") from raised

    def _settle(self, topic: str, partitions: int | None, there: bool = False) -> None:
        """Wait until the brokers' metadata shows the change, which follows the answer. `there`: of another's change
        that there is the topic is all that is known."""
        for _ in range(_SETTLE_NAPS_MAX):
            found = self.partitions(topic)
            if (found is not None) if there else (found == partitions):
                return
            self._clock.sleep_ms(_SETTLE_NAP_MS)
        raise TransientError(f"Kafka: the change of the topic {topic} is not visible yet", "E4102")


def connection_properties(properties: Mapping[str, str]) -> dict[str, str | int | float | bool]:
    """Those of a client's properties that say how to reach the cluster, for a client that logs nothing by itself."""
    own = {name: value for name, value in properties.items() if name.startswith(_CONNECTION_PREFIXES)}
    return {**own, "log_level": "0"}


def require_topic(topics: Topics, topic: str, create: NewTopicSettings | None) -> int:
    """The number of partitions of a topic, which is made when `create` says so. Raises FatalConnectorError E4103."""
    found = topics.partitions(topic)
    if found is not None:
        return found
    if create is None:
        known = ", ".join(topics.names()[:10]) or "none"
        raise FatalConnectorError(
            f"Kafka: there is no topic {topic} (there are: {known})",
            "E4103",
            "check 'topic', or let the job create it with 'create.topic' = 'true'",
        )
    topics.create(topic, create)
    return create.partitions
