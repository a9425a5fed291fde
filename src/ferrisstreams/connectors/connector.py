"""What a connector is: one object that says what a kind of stream can do, and makes its sources and sinks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ferrisstreams.batch import JsonValue
from ferrisstreams.clock import Clock, SystemClock
from ferrisstreams.config.batches import SourceKind
from ferrisstreams.config.formats import FormatName
from ferrisstreams.config.resolve import Settings
from ferrisstreams.connectors.base import Sink, Source
from ferrisstreams.connectors.kafka.share import WHOLE, Share
from ferrisstreams.errors import InternalError, Position
from ferrisstreams.memory_file import MemoryFile

if TYPE_CHECKING:
    from ferrisstreams.connectors.kafka.producer import KafkaProducer
    from ferrisstreams.connectors.stdout_sink import RowStream


@dataclass(frozen=True, slots=True)
class SourceContext:
    """The stream `name` that a job reads, with its settings and the place of its declaration, and the job around it.

    `folder` is that of the application. `once`: up to what is there at the start; `while_open`: until the other end of
    this pipe is closed. `share` are the partitions that this worker reads, `partitions` is how many the topic must keep
    (None: it may grow). `timestamps`: whether the time of each record is wanted. `stand_in`: what is in
    the place of a message's value where it has none (None: such messages are left out). `in_memory`: what the library's
    caller gave, by name.
    """

    name: str
    settings: Settings
    folder: Path
    position: Position | None = None
    clock: Clock = field(default_factory=SystemClock)
    group: str = ""
    once: bool = False
    while_open: int | None = None
    share: Share = WHOLE
    partitions: int | None = None
    timestamps: bool = False
    stand_in: bytes | None = None
    in_memory: Mapping[str, Source] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SinkContext:
    """The stream `name` that a job writes, with the settings of sink and job and the place of its declaration.

    `header` begins a new file; `rows_to` stands for standard output; `overwrite`: what is there may
    go. `producer` gives the one producer of the job.
    """

    name: str
    settings: Settings
    folder: Path
    position: Position | None = None
    clock: Clock = field(default_factory=SystemClock)
    header: bytes = b""
    rows_to: RowStream | None = None
    overwrite: bool = False
    in_memory: Mapping[str, Sink] = field(default_factory=dict)
    producer: Callable[[], KafkaProducer] | None = None


class Connector:
    """What a stream can be connected to: one object, in the one list of `connectors/registry.py`.

        WITH ('connector' = 'ticks', 'rate' = '5')
                             name     settings (declared in `config/registry.py`)

        class TicksConnector(Connector):
            name = "ticks"
            reads = True

            def source(self, context: SourceContext, block: MemoryFile) -> Source:
                return TickSource(context.settings.number("rate"))

    Everything else asks the object what it can do, and never compares names. The defaults are those of a bounded source
    of bytes, and of a sink with marks.
    """

    name: ClassVar[str]
    reads: ClassVar[bool] = False
    writes: ClassVar[bool] = False

    #: The format of typed rows, which need no decoding from bytes; None: the setting `format` says it.
    row_format: ClassVar[FormatName | None] = None
    #: Records are messages of a topic: with a key, headers, a time, and a partition that is dealt to a worker.
    messages: ClassVar[bool] = False
    #: Streams are files, named by the setting `path`.
    files: ClassVar[bool] = False
    #: A position is the number of rows that were given.
    counts_rows: ClassVar[bool] = False
    #: The setting that makes a source follow what another job is still writing.
    follow: ClassVar[str | None] = None
    #: Sinks write in transactions, and these decide when an epoch is final.
    transactions: ClassVar[bool] = False
    #: A sink can take back what was written after a mark, or aborts its transaction.
    takes_back: ClassVar[bool] = True
    #: Several processes can write to one sink.
    several_writers: ClassVar[bool] = False
    #: Rows go to standard output, so that nothing else may.
    prints: ClassVar[bool] = False
    #: A sink has batches of its own, which the keys of batches fill.
    fills_batches: ClassVar[bool] = False

    def __str__(self) -> str:
        return self.name

    # --- source -----------------------------------------------------------------------------------------------------

    def source(self, context: SourceContext, block: MemoryFile) -> Source:
        """A source that puts what the engine may read into `block`. Raises ConfigError."""
        raise InternalError(f"{self.name} is not read")

    def data(self, context: SourceContext) -> dict[str, JsonValue]:
        """Which data a source reads: a job whose source is another one cannot keep its state."""
        return {"name": context.name}

    def is_endless(self, settings: Settings) -> bool:
        """Whether more may come of a source, whatever was read of it."""
        return False

    def is_done_when_caught_up(self, settings: Settings) -> bool:
        """Whether `--once` ends when the source gives nothing at the moment; else it says itself when it has ended."""
        return True

    def source_kind(self, settings: Settings) -> SourceKind:
        """What the default strategy of batches depends on."""
        return "other"

    # --- sink -------------------------------------------------------------------------------------------------------

    def sink(self, context: SinkContext) -> Sink:
        """Raises ConfigError."""
        raise InternalError(f"{self.name} is not written")
