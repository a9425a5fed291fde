"""How far one partition of a topic is read."""

from __future__ import annotations

from dataclasses import dataclass

#: Behind a committed record there is the mark of its transaction: one offset before the end is as good as the end.
_MARK_OFFSETS = 1


@dataclass(slots=True)
class PartitionRead:
    """`position` is behind all that was given to the job, `taken` behind all that the client gave us.

    Marks of transactions and aborted records take offsets, and the client passes them without a word. What it says is
    where the end is (`eof`), once it stands there: then all records before are taken, and the position goes there too
    as soon as they are given. Retention may then remove what lies before it, and nothing is lost.

    `end` bounds a read: from there on it is `stopped`, and `done` when all before it was given. `at_end`: nothing more
    was there when last heard of.
    """

    start: int
    position: int
    taken: int
    end: int | None = None
    eof: int = -1
    at_end: bool = False
    stopped: bool = False
    done: bool = False

    @classmethod
    def from_start(cls, start: int, end: int | None) -> PartitionRead:
        """A read from `start` on; up to `end`, where there is one."""
        empty = end is not None and start >= end
        return cls(start, start, start, end, at_end=empty, stopped=empty, done=empty)

    def took(self, last: int) -> None:
        """The client gave records up to the offset `last`."""
        self.taken = max(self.taken, last + 1)
        self.at_end = self.taken <= self.eof

    def came_to_end(self, offset: int) -> None:
        """The client stood at the end, which was at `offset`; it may have given more records since."""
        self.eof, self.taken = offset, max(self.taken, offset)
        self.at_end = self.taken <= offset

    @property
    def passes_its_end(self) -> bool:
        """Whether a bounded read should stop now."""
        return self.end is not None and not self.stopped and self.taken >= self.end

    def gave(self, last: int | None, waiting: int) -> None:
        """Records up to the offset `last` were given to the job (None: none); `waiting` of those taken were not."""
        if waiting:
            self.position = self.position if last is None else last + 1
        elif self.stopped:
            assert self.end is not None
            self.position, self.done, self.at_end = max(self.position, self.end), True, True
        else:
            self.position = max(self.position, self.taken)

    def is_near(self, high: int) -> bool:
        """Whether an endless read has as good as all of a partition that ends at `high`: the client tells the end only
        when a fetch comes back empty."""
        return self.end is None and self.taken + _MARK_OFFSETS >= high
