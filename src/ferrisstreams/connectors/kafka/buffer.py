"""Messages that the client gave and no poll has taken yet, by partition."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field

from ferrisstreams.connectors.kafka.messages import Chunk

#: A partition whose messages have waited so long goes before fuller ones: it may hold the job's watermark.
PATIENCE_MS = 250.0


@dataclass(slots=True)
class _Queue:
    """`start` messages of the first chunk are taken already."""

    chunks: deque[Chunk] = field(default_factory=deque)
    start: int = 0
    records: int = 0
    since_ms: float = 0.0


class Buffer:
    """First in, first out within a partition; among partitions the fullest first, unless one has waited too long."""

    def __init__(self) -> None:
        self._queues: dict[int, _Queue] = {}
        self.records = 0

    def add(self, partition: int, chunk: Chunk, now_ms: float) -> None:
        """Messages of one partition, behind those that wait."""
        queue = self._queues.setdefault(partition, _Queue())
        if not queue.records:
            queue.since_ms = now_ms
        queue.chunks.append(chunk)
        queue.records += len(chunk)
        self.records += len(chunk)

    def waiting(self, partition: int) -> int:
        """How many messages of a partition wait."""
        return self._queues[partition].records if partition in self._queues else 0

    def partitions(self) -> list[int]:
        """The partitions that have messages here."""
        return [partition for partition, queue in self._queues.items() if queue.records]

    def fullest(self) -> int:
        """How many messages wait of the partition that has most."""
        return max((queue.records for queue in self._queues.values()), default=0)

    def since_ms(self) -> float | None:
        """Since when the oldest message waits; None when none does."""
        return min((queue.since_ms for queue in self._queues.values() if queue.records), default=None)

    def next_partition(self, now_ms: float) -> int | None:
        """The partition whose messages should be taken now; None when nothing waits."""
        waiting = {partition: queue for partition, queue in self._queues.items() if queue.records}
        if not waiting:
            return None
        oldest = min(waiting, key=lambda partition: waiting[partition].since_ms)
        if now_ms - waiting[oldest].since_ms > PATIENCE_MS:
            return oldest
        return max(waiting, key=lambda partition: waiting[partition].records)

    def take(self, partition: int, most: int, now_ms: float) -> list[Chunk]:
        """Up to `most` messages of a partition that has some."""
        queue = self._queues[partition]
        taken: list[Chunk] = []
        left = most
        while left and queue.chunks:
            first = queue.chunks[0]
            stop = min(len(first), queue.start + left)
            taken.append(first.cut(queue.start, stop))
            left -= stop - queue.start
            queue.start = stop
            if stop == len(first):
                queue.chunks.popleft()
                queue.start = 0
        queue.since_ms = now_ms
        queue.records -= most - left
        self.records -= most - left
        return taken

    def drop_from(self, partition: int, offset: int) -> None:
        """Forget the messages of a partition from an offset on."""
        if partition not in self._queues:
            return
        queue = self._queues.pop(partition)
        self.records -= queue.records
        start = queue.start
        for chunk in queue.chunks:
            stop = bisect_left(chunk.offsets, offset)
            if stop > start:
                self.add(partition, chunk.cut(start, stop), queue.since_ms)
            start = 0

    def clear(self) -> None:
        self._queues.clear()
        self.records = 0
