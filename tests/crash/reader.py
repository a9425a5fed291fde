"""A reader of committed records that is not ours: another client library, reading while the job writes and dies."""

from __future__ import annotations

import asyncio
from threading import Event, Thread

from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.crash.kafka_jobs import KafkaJob

_POLL_MS = 100
_WAIT_SECONDS = 60.0


class CommittedReader:
    """Reads the job's output topic from its beginning, in a thread of its own. A context: its end ends the thread."""

    def __init__(self, job: KafkaJob) -> None:
        self._job = job
        self._rows: list[bytes] = []
        self._wanted: int | None = None
        self._stop = Event()
        self._thread = Thread(target=lambda: asyncio.run(self._read()), daemon=True)
        self._thread.start()

    def __enter__(self) -> CommittedReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def until(self, rows: int) -> list[bytes]:
        """What was read, in order, once it is so many rows and no more come."""
        self._wanted = rows
        self._thread.join(_WAIT_SECONDS)
        return self._rows

    async def _read(self) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._job.cluster.bootstrap_servers,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        await consumer.start()
        try:
            consumer.assign([TopicPartition(self._job.output, 0)])
            while not self._stop.is_set():
                found = await consumer.getmany(timeout_ms=_POLL_MS)
                self._rows += [record.value for records in found.values() for record in records]
                if not found and self._wanted is not None and len(self._rows) >= self._wanted:
                    return
        finally:
            await consumer.stop()
