"""Rows to standard output (or any stream of bytes). What was written cannot be taken back."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Protocol

from ferrisstreams.batch import JsonValue, Payload, Rejected
from ferrisstreams.connectors.connector import Connector, SinkContext
from ferrisstreams.errors import FatalConnectorError, InternalError


class StdoutConnector(Connector):
    """Standard output."""

    name = "stdout"
    writes = True
    takes_back = False
    prints = True

    def sink(self, context: SinkContext) -> StdoutSink:
        return StdoutSink(context.rows_to, context.header)


class RowStream(Protocol):
    """What rows can be printed to."""

    def write(self, data: bytes | memoryview, /) -> int: ...
    def flush(self) -> None: ...


class ReaderGoneError(FatalConnectorError):
    """Nobody reads what is printed any more, as behind `| head`."""


class StdoutSink:
    """`header` is written by `open`. Errors: FatalConnectorError E4003, also when the reader of a pipe went away, and
    where the process was started with its standard output closed."""

    def __init__(self, stream: RowStream | None = None, header: bytes = b"") -> None:
        self._given = stream
        self._header = header

    def check(self) -> None:
        """It is always there."""

    def open(self, mark: JsonValue) -> None:
        self._write(self._header)

    def write(self, payload: Payload) -> Sequence[Rejected]:
        if not isinstance(payload.data, bytes):
            raise InternalError("standard output takes bytes")
        self._write(payload.data)
        return ()

    @property
    def _stream(self) -> RowStream:
        return self._given if self._given is not None else standard_output()

    def flush(self) -> JsonValue:
        try:
            self._stream.flush()
        except OSError as error:
            raise write_error(error) from error
        return None

    def overdue(self) -> bool:
        return False

    def confirm(self, mark: JsonValue) -> None:
        """What was written is out already."""

    def rollback(self, mark: JsonValue) -> None:
        """What was written stays: this sink delivers at least once."""

    def client(self) -> None:
        """There is no client."""

    def close(self) -> None:
        """The stream is not ours to close."""

    def discard(self) -> None:
        """What was printed cannot be taken back."""

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:  # an unbuffered stream (PYTHONUNBUFFERED) may take a part only
                rest = rest[self._stream.write(rest) :]
        except OSError as error:
            raise write_error(error) from error


def standard_output() -> RowStream:
    """The stream that rows go to. Raises FatalConnectorError E4003 where the process was started with it closed."""
    # `sys.stdout` may stand for the null device then, into which no row may go.
    if sys.__stdout__ is None:
        raise FatalConnectorError("standard output is closed", "E4003", "write to a file, or leave it open")
    return sys.stdout.buffer


def write_error(error: OSError) -> FatalConnectorError:
    """Why standard output cannot be written."""
    if isinstance(error, BrokenPipeError):
        return ReaderGoneError("standard output was closed by its reader", "E4003", "write to a file to keep all rows")
    return FatalConnectorError(f"standard output cannot be written: {error.strerror}", "E4003", "check the disk")
