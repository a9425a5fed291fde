"""The sizes at which a pipeline changes how it works. Results do not depend on them."""

from __future__ import annotations

from dataclasses import dataclass, field

from ferrisstreams.duck.state_log import LogSizes


@dataclass(frozen=True, slots=True)
class Sizes:
    """`output_rows`: output rows that are made and encoded at a time. `delta_rows`: rows of the delta at which an epoch
    ends early, so that the memory of an epoch is bounded. `returned_groups`: groups of a batch up to which their counts
    come back with the statement; that saves a statement of 1 to 2 ms, which is much for a batch of a few rows and
    nothing for one of many groups. `current_rows` and `current_ticks`: results that change are made of current rows in
    memory after so many ticks of at most so many rows, as long as these take no more than `current_bytes`. `read_often`
    and `read_once` are the sizes of a log that every batch reads, and of one that emissions read.
    """

    output_rows: int = 25_000
    delta_rows: int = 1_000_000
    returned_groups: int = 256
    current_rows: int = 5_000
    current_ticks: int = 8
    current_bytes: int = 128 << 20
    read_often: LogSizes = field(default_factory=lambda: LogSizes(compact_rows=100_000))
    read_once: LogSizes = field(default_factory=LogSizes)


USUAL_SIZES = Sizes()

#: Everything that large states and batches meet happens with a few rows.
TINY_SIZES = Sizes(1, 1, 1, 3, 2, 4_000, LogSizes(2, 1), LogSizes(2, 1))
