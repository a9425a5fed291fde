"""What the Kafka client's errors mean: one table, at the boundary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException

from ferrisstreams.errors import ConnectorError, FatalConnectorError, FencedError, TransientError


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an error is to us: its class, our code, and what to do."""

    kind: type[ConnectorError]
    code: str
    hint: str | None = None


_UNREACHABLE = Meaning(TransientError, "E4101", "is the broker running, and is 'bootstrap.servers' its address?")
_BUSY = Meaning(TransientError, "E4102")
_UNKNOWN_TOPIC = Meaning(
    FatalConnectorError, "E4103", "check 'topic', or let the job create it with 'create.topic' = 'true'"
)
_NO_ACCESS = Meaning(
    FatalConnectorError, "E4104", "check the user and password ('kafka.sasl.…') and the rights that it has"
)
_FENCED = Meaning(FencedError, "E4105", "another instance of the job runs, or its transaction timed out")
_TOO_LARGE = Meaning(
    FatalConnectorError, "E4106", "raise 'kafka.message.max.bytes' and the topic's max.message.bytes, or write less"
)
_LOST = Meaning(
    FatalConnectorError,
    "E4107",
    "raise the topic's retention; to go on from what is there, reset the job's state",
)
_REFUSED = Meaning(FatalConnectorError, "E4108")

_MEANINGS: Mapping[int, Meaning] = {
    KafkaError._ALL_BROKERS_DOWN: _UNREACHABLE,
    KafkaError._TRANSPORT: _UNREACHABLE,
    KafkaError._RESOLVE: _UNREACHABLE,
    KafkaError._UNKNOWN_BROKER: _UNREACHABLE,
    KafkaError.NETWORK_EXCEPTION: _UNREACHABLE,
    KafkaError.BROKER_NOT_AVAILABLE: _UNREACHABLE,
    KafkaError._TIMED_OUT: _UNREACHABLE,
    KafkaError._TIMED_OUT_QUEUE: _UNREACHABLE,
    KafkaError._MSG_TIMED_OUT: _UNREACHABLE,
    KafkaError.REQUEST_TIMED_OUT: _BUSY,
    KafkaError.LEADER_NOT_AVAILABLE: _BUSY,
    KafkaError.NOT_LEADER_FOR_PARTITION: _BUSY,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS: _BUSY,
    KafkaError.COORDINATOR_NOT_AVAILABLE: _BUSY,
    KafkaError.NOT_COORDINATOR: _BUSY,
    KafkaError.NOT_CONTROLLER: _BUSY,
    KafkaError.NOT_ENOUGH_REPLICAS: _BUSY,
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND: _BUSY,
    KafkaError.CONCURRENT_TRANSACTIONS: _BUSY,
    KafkaError.UNSTABLE_OFFSET_COMMIT: _BUSY,
    KafkaError.THROTTLING_QUOTA_EXCEEDED: _BUSY,
    KafkaError._WAIT_COORD: _BUSY,
    KafkaError._QUEUE_FULL: _BUSY,
    KafkaError._UNKNOWN_TOPIC: _UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION: _UNKNOWN_TOPIC,
    KafkaError.UNKNOWN_TOPIC_OR_PART: _UNKNOWN_TOPIC,
    KafkaError.UNKNOWN_TOPIC_ID: _UNKNOWN_TOPIC,
    KafkaError.TOPIC_EXCEPTION: _UNKNOWN_TOPIC,
    KafkaError._AUTHENTICATION: _NO_ACCESS,
    KafkaError.SASL_AUTHENTICATION_FAILED: _NO_ACCESS,
    KafkaError.TOPIC_AUTHORIZATION_FAILED: _NO_ACCESS,
    KafkaError.GROUP_AUTHORIZATION_FAILED: _NO_ACCESS,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: _NO_ACCESS,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: _NO_ACCESS,
    KafkaError._SSL: _NO_ACCESS,
    KafkaError._FENCED: _FENCED,
    KafkaError.PRODUCER_FENCED: _FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH: _FENCED,
    KafkaError.TRANSACTION_COORDINATOR_FENCED: _FENCED,
    KafkaError.MSG_SIZE_TOO_LARGE: _TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE: _TOO_LARGE,
    KafkaError.OFFSET_OUT_OF_RANGE: _LOST,
    KafkaError._AUTO_OFFSET_RESET: _LOST,
    KafkaError._LOG_TRUNCATION: _LOST,
}


def kafka_error(error: KafkaError, doing: str) -> ConnectorError:
    """The error of ours that a client's error means; `doing` says what was tried (`produce to trades`)."""
    meaning = _MEANINGS.get(error.code())
    if meaning is None:
        meaning = Meaning(TransientError, "E4102") if error.retriable() else _REFUSED
    return meaning.kind(f"Kafka: cannot {doing}: {error.str()} ({error.name()})", meaning.code, meaning.hint)


def error_of(raised: KafkaException) -> KafkaError:
    """The client's error inside of its exception."""
    error = raised.args[0]
    assert isinstance(error, KafkaError)
    return error


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turns the client's exceptions into ours."""
    try:
        yield
    except KafkaException as raised:
        raise kafka_error(error_of(raised), doing) from raised
