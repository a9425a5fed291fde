"""Errors: who must act, and what the runtime does meanwhile.

Every error carries a stable code of the registry `CODES`, a message (what, where, why) and, where there is one, a hint
(what to do). A row that fails is not an error but a value: see `ferrisstreams.batch.Rejected`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

#: The registry of stable codes. The reference page and `Rejected` use it; a code is never given a second meaning.
CODES: Mapping[str, str] = {
    # SQL: the author of the statement acts.
    "E1001": "syntax that cannot be parsed",
    "E1002": "an annotation in the wrong place",
    "E1101": "a name that is not known",
    "E1102": "a type or an argument that does not fit",
    "E1103": "a name declared twice",
    "E1201": "recognised but not supported: the hint names the nearest way",
    "E1202": "not callable from user SQL",
    "E1203": "a result that cannot be kept correct incrementally",
    "E1204": "a part that would have no effect: leave it out",
    "E1205": "something that the query needs and that is not declared: columns, an event time, a stream",
    "E1206": "a reference to a file or topic that cannot be read",
    "E1207": "a window with too many overlaps",
    "E1208": "a window or watermark that does not fit the query",
    "E1209": "more or fewer queries than expected",
    # Rows: a row alone fails; the failure strategy decides.
    "E2101": "a record that is malformed",
    "E2102": "a record that is not an object",
    "E2103": "a record with a duplicate key",
    "E2104": "a value that does not fit its column",
    "E2105": "a missing value in a NOT NULL column",
    "E2106": "a record with the wrong number of columns",
    "E2107": "a record that is not valid UTF-8",
    "E2108": "a record that is larger than the limit",
    "E2109": "a row without an event time",
    "E2110": "a row too far ahead of the clock",
    "E2111": "a record that does not say which row of a table it is about, or says two",
    "E2201": "an expression that fails on a row",
    "E2301": "a row that is late",
    "E2401": "an output row that cannot be encoded",
    "E2402": "an output expression that fails",
    "E2403": "an output row that is larger than the sink takes",
    "E2404": "an output row without a key for a topic that is compacted",
    # Configuration: the operator of the job acts.
    "E3001": "a setting that is not known",
    "E3002": "a setting with a value that does not fit",
    "E3003": "settings that contradict one another",
    "E3004": "a setting that is missing",
    "E3005": "a setting that this connector, format or query cannot obey",
    "E3006": "a job that cannot have as many workers as 'parallelism' says",
    "E3007": "positions that cannot be moved",
    "E3008": "a changelog that cannot express how the result changes",
    "E3009": "a client property that contradicts what delivery needs",
    "E3010": "a topic that is read and written, or written with two meanings",
    "E3011": "a library that is not installed",
    # Connectors: an outside system.
    "E4001": "a file that cannot be read",
    "E4002": "a source that changed under its position",
    "E4003": "a sink that cannot be written",
    "E4004": "a target that is not empty",
    "E4005": "a file whose header does not fit the columns",
    "E4006": "a place that dead letters cannot be replayed to",
    "E4007": "a file whose content ends early or cannot be decompressed",
    "E4008": "a file that another job writes",
    "E4009": "records whose key is the name of a column in other capitals",
    "E4101": "a Kafka broker that cannot be reached",
    "E4102": "a Kafka broker that is busy or has no leader",
    "E4103": "a Kafka topic that is not there",
    "E4104": "a Kafka cluster that gives no access",
    "E4105": "a Kafka producer that another one has fenced off",
    "E4106": "a record that is larger than Kafka takes",
    "E4107": "a position that Kafka no longer holds",
    "E4108": "a request that Kafka refuses",
    "E4110": "a Kafka transaction whose outcome is not known",
    "E4111": "a Kafka topic that was deleted and recreated",
    "E4112": "a Kafka topic that has other partitions than the job's state is dealt by",
    "E4113": "a Kafka topic that would lose dead letters",
    # State.
    "E5001": "a state file in use by another process",
    "E5002": "state of another version of the query",
    "E5003": "state and the outside do not agree",
    "E5004": "a state file of another format version",
    "E5005": "a state file that cannot be opened",
    "E5006": "state that another instance of the job has left behind",
    "E5007": "state of another parallelism",
    "E5008": "more input for results that were final",
    "E5009": "a read that a running job did not answer",
    # Failures of a job.
    "E6001": "a row failed under FailBatch",
    "E6002": "too many dead letters",
    "E6003": "too many failed rows in a row",
    "E6004": "a worker process that ended without a result",
    "E6005": "a job that was not started because one that it reads from failed",
    "E6006": "a job that ran out of memory",
    # Ours.
    "E9001": "a broken invariant, or an unexpected error",
}


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a text: `path` (or `<sql>`), line and column (both from 1), the line as it is shown and the length to
    mark there. `shown_column`: the place in that line, where it is another because a secret before it is masked."""

    path: str
    line: int
    column: int
    text: str = ""
    length: int = 1
    shown_column: int | None = None

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"

    def excerpt(self) -> str:
        """The line with a caret under the place; empty when the line is not known."""
        if not self.text:
            return ""
        column = self.shown_column or self.column
        lead = "".join("\t" if c == "\t" else " " for c in self.text[: column - 1])
        return f"  {self.text}\n  {lead}{'^' * max(1, min(self.length, len(self.text) - column + 1))}"


class FerrisError(Exception):
    """Base of all. `code` is a key of `CODES`, `hint` says what to do."""

    def __init__(self, message: str, code: str, hint: str | None = None, position: Position | None = None) -> None:
        assert code in CODES, f"{code} is not registered"
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint
        self.position = position

    def __str__(self) -> str:
        where = f"{self.position}: " if self.position else ""
        lines = [f"{where}{self.message} [{self.code}]"]
        if self.position and (excerpt := self.position.excerpt()):
            lines.append(excerpt)
        # What failed as well while the job was ended.
        lines += getattr(self, "__notes__", ())
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


@contextmanager
def collecting(errors: list[FerrisError] | None) -> Iterator[None]:
    """Inside, an error ends the block and goes to `errors`; None: it is raised."""
    try:
        yield
    except FerrisError as error:
        if errors is None:
            raise
        errors.append(error)


class SqlError(FerrisError):
    """The author of the SQL acts. Nothing was started."""


class ConfigError(FerrisError):
    """The operator of the job acts: a setting is wrong. Nothing was started."""


class ConnectorError(FerrisError):
    """An outside system failed. See the two kinds below for who acts."""


class TransientError(ConnectorError):
    """Nobody acts yet: the runtime tries again with backoff, and fails the job when the retries are spent."""


class FatalConnectorError(ConnectorError):
    """The operator acts on the outside system. The epoch is rolled back and the job stops as failed."""


class FencedError(ConnectorError):
    """Another instance owns the job. The job stops and touches nothing."""


class UnknownOutcomeError(ConnectorError):
    """Nobody acts: nobody knows whether a commit has happened. The runtime asks the decider before it goes on."""


class StateError(FerrisError):
    """The operator acts: the state cannot be used as it is. The job does not start."""


class RowError(FerrisError):
    """The owner of the data acts: a row failed and the failure strategy says to stop. The epoch is rolled back."""


class OutOfMemoryError(FerrisError):
    """The operator acts: more memory, or a smaller job. The epoch is rolled back and the job stops as failed."""

    def __init__(self, message: str) -> None:
        super().__init__(
            message, "E6006", "raise 'memory.limit', give the process more memory, or make batches and groups smaller"
        )


class InternalError(FerrisError):
    """We act: a broken invariant of ours, or an error of another library that nothing foresaw. The epoch is rolled back
    and the job stops as failed; other jobs go on."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "E9001", "this is a bug in FerrisStreams: please report it with the lines above")


def as_ferris_error(error: Exception) -> FerrisError:
    """The error itself, or what any other exception is to us. It keeps the notes and is raised from the original."""
    match error:
        case FerrisError():
            return error
        case MemoryError() | OSError(errno=errno.ENOMEM):
            meant: FerrisError = OutOfMemoryError("the process has no memory left")
        case ModuleNotFoundError(name="confluent_kafka"):
            hint = "install it: pip install 'ferrisstreams[kafka]'"
            meant = ConfigError("the client of Kafka is not installed", "E3011", hint)
        case _:
            meant = InternalError(f"{type(error).__name__}: {error}")
    meant.__cause__ = error
    for note in getattr(error, "__notes__", ()):
        meant.add_note(note)
    return meant


@contextmanager
def noted_on(error: BaseException) -> Iterator[None]:
    """What fails while `error` is dealt with is a note on it: the first error is the reason."""
    try:
        yield
    except Exception as other:
        error.add_note(f"and then: {other.message if isinstance(other, FerrisError) else repr(other)}")


@contextmanager
def placed_at(position: Position | None) -> Iterator[None]:
    """Give an error without a place this one: what is missing stands nowhere, but its statement does."""
    try:
        yield
    except FerrisError as error:
        error.position = error.position or position
        raise
