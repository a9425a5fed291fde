"""Messages that the client gave and no poll has taken yet, by partition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from confluent_kafka import Message

#: A partition whose messages have waited so long goes before fuller ones: it may hold the job's watermark.
PATIENCE_MS = 250.0


@dataclass(slots=True)
class _Queue:
    messages: list[Message] = field(default_factory=list)
    start: int = 0
    since_ms: float = 0.0

    def __len__(self) -> int:
        return len(self.messages) - self.start


class Buffer:
    """First in, first out within a partition; among partitions the fullest first, unless one has waited too long."""

    def __init__(self) -> None:
        self._queues: dict[int, _Queue] = {}
        self.records = 0

    def add(self, partition: int, messages: Sequence[Message], now_ms: float) -> None:
        """Messages of one partition, behind those that wait."""
        queue = self._queues.setdefault(partition, _Queue())
        if not len(queue):
            queue.since_ms = now_ms
        if queue.start:
            del queue.messages[: queue.start]
            queue.start = 0
        queue.messages.extend(messages)
        self.records += len(messages)

    def waiting(self, partition: int) -> int:
        """How many messages of a partition wait."""
        return len(self._queues[partition]) if partition in self._queues else 0

    def partitions(self) -> list[int]:
        """The partitions that have messages here."""
        return [partition for partition, queue in self._queues.items() if len(queue)]

    def fullest(self) -> int:
        """How many messages wait of the partition that has most."""
        return max(map(len, self._queues.values()), default=0)

    def since_ms(self) -> float | None:
        """Since when the oldest message waits; None when none does."""
        return min((queue.since_ms for queue in self._queues.values() if len(queue)), default=None)

    def next_partition(self, now_ms: float) -> int | None:
        """The partition whose messages should be taken now; None when nothing waits."""
        waiting = {partition: queue for partition, queue in self._queues.items() if len(queue)}
        if not waiting:
            return None
        oldest = min(waiting, key=lambda partition: waiting[partition].since_ms)
        if now_ms - waiting[oldest].since_ms > PATIENCE_MS:
            return oldest
        return max(waiting, key=lambda partition: len(waiting[partition]))

    def take(self, partition: int, most: int, now_ms: float) -> list[Message]:
        """Up to `most` messages of a partition."""
        queue = self._queues[partition]
        if queue.start == 0 and most >= len(queue.messages):
            taken, queue.messages = queue.messages, []
        else:
            taken = queue.messages[queue.start : queue.start + most]
            queue.start += len(taken)
            if not len(queue):
                queue.messages, queue.start = [], 0
        queue.since_ms = now_ms
        self.records -= len(taken)
        return taken

    def drop_from(self, partition: int, offset: int) -> None:
        """Forget the messages of a partition from an offset on."""
        if partition not in self._queues:
            return
        queue = self._queues[partition]
        kept = [m for m in queue.messages[queue.start :] if (at := m.offset()) is not None and at < offset]
        self.records -= len(queue) - len(kept)
        queue.messages, queue.start = kept, 0

    def clear(self) -> None:
        self._queues.clear()
        self.records = 0
