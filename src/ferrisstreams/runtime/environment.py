"""What surrounds a job: folders, components, and the sources and sinks in memory that it may name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ferrisstreams.clock import Clock, SystemClock
from ferrisstreams.compile.sizes import USUAL_SIZES, Sizes
from ferrisstreams.config.values import Property
from ferrisstreams.connectors.base import Sink, Source, Transactions
from ferrisstreams.connectors.stdout_sink import RowStream
from ferrisstreams.duck.engine import Engine
from ferrisstreams.memory_file import MemoryFile
from ferrisstreams.runtime.faults import Faults, NoFaults
from ferrisstreams.runtime.observer import Observer, Silent


@dataclass(frozen=True, slots=True)
class StandIns:
    """Components that stand in for the declared connectors; formats and settings stay as declared.

    `source` is given the name of the stream, and the block of memory that the engine may read.
    """

    source: Callable[[str, MemoryFile], Source]
    sink: Sink
    dead_letters: Sink
    transactions: Transactions | None = None


@dataclass(frozen=True, slots=True)
class Environment:
    """`memory_sources` and `memory_sinks` are those that the memory connector has, by the name of the stream.

    `state_root` None keeps state in memory. `strict`: over a bounded source a row that fails stops the job, where no
    failure strategy is named. `engine` is given by tests that let it survive a crash. `worker`: which one of several
    (`parallelism`) this process is; None: not one of several. `rows_to` stands for standard output.
    `sizes`: tests have other ones.
    """

    application: str
    folder: Path
    state_root: Path | None = None
    overrides: Mapping[str, Property] = field(default_factory=dict)
    overwrite: bool = False
    once: bool = False
    drain: bool = False
    while_open: int | None = None
    rows_max: int | None = None
    clock: Clock = field(default_factory=SystemClock)
    faults: Faults = field(default_factory=NoFaults)
    observer: Observer = field(default_factory=Silent)
    memory_sources: Mapping[str, Source] = field(default_factory=dict)
    memory_sinks: Mapping[str, Sink] = field(default_factory=dict)
    engine: Engine | None = None
    stand_ins: StandIns | None = None
    worker: int | None = None
    rows_to: RowStream | None = None
    sizes: Sizes = USUAL_SIZES
    strict: bool = False
