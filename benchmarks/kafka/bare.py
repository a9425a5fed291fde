"""The limit of the Python client: consume and produce with transactions and keys, nothing decoded.

Run as a process with arguments of the form name=value. The records with `"side":"buy"` are handed on as they are.
"""

from __future__ import annotations

import sys
import time

from confluent_kafka import Consumer, Producer, TopicPartition

#: Records of one call, and how long a transaction stays open while there is more to read.
BATCH_RECORDS = 10_000
TRANSACTION_SECONDS = 1.0


def main(given: dict[str, str]) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": given["bootstrap"],
            "group.id": given["name"],
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "fetch.queue.backoff.ms": 5,
        }
    )
    transactional = given["guarantee"] == "exactly_once"
    producer = Producer(
        {
            "bootstrap.servers": given["bootstrap"],
            "compression.type": "lz4",
            "linger.ms": 5 if given["tuned"] == "throughput" else 0,
            "queue.buffering.max.messages": 1_000_000,
            **({"transactional.id": given["name"]} if transactional else {}),
        }
    )
    if transactional:
        producer.init_transactions()
    consumer.assign([TopicPartition(given["source"], 0, 0)])
    while True:
        _epoch(consumer, producer, given["sink"], transactional)


def _epoch(consumer: Consumer, producer: Producer, sink: str, transactional: bool) -> None:
    """Until the time is up or nothing more is queued."""
    if transactional:
        producer.begin_transaction()
    end = time.monotonic() + TRANSACTION_SECONDS
    position = None
    while True:
        # `consume` waits for as many as it was asked for; `poll` for one.
        first = consumer.poll(0.1) if position is None else None
        messages = ([first] if first else []) + consumer.consume(BATCH_RECORDS, 0.001)
        for message in messages:
            value = message.value() or b""
            if b'"side":"buy"' in value:
                _produce(producer, sink, value, message.key())
        if messages:
            position = (messages[-1].offset() or 0) + 1
        if position is not None and (len(messages) < BATCH_RECORDS // 2 or time.monotonic() > end):
            break
        producer.poll(0)
    positions = [TopicPartition(consumer.assignment()[0].topic, 0, position)]
    if transactional:
        producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata())
        producer.commit_transaction()
    else:
        producer.flush()
        consumer.commit(offsets=positions, asynchronous=False)


def _produce(producer: Producer, sink: str, value: bytes, key: bytes | None) -> None:
    while True:
        try:
            producer.produce(sink, value, key)
            return
        except BufferError:
            producer.poll(0.01)


if __name__ == "__main__":
    main(dict(argument.split("=", 1) for argument in sys.argv[1:]))
