"""Which partitions of a topic a worker reads. They are dealt once and for all: no group rebalances."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """The partitions p with p mod `workers` = `worker`; those that a topic gets later too."""

    worker: int = 0
    workers: int = 1

    def owns(self, partition: int) -> bool:
        return partition % self.workers == self.worker

    def partitions_of(self, partitions: int) -> list[int]:
        """Those of a topic with so many partitions."""
        return list(range(self.worker, partitions, self.workers))


#: All partitions: that of an only worker.
WHOLE = Share()
