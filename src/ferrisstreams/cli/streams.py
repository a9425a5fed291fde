"""Standard input, output and error, of which the caller may have closed any."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO

#: Columns of a terminal that does not say how many it has.
_COLUMNS = 80


def hold_standard_streams() -> None:
    """A standard stream that is closed becomes the null device, so that no file that is opened later takes its number.

    What a command says there goes nowhere. Rows do not: a job that prints them is refused (`standard_output`). Where
    standard error cannot be written any more, nothing is said, and the work goes on.
    """
    for name, mode, kind in (("stdin", "r", None), ("stdout", "w", _Said), ("stderr", "w", _Told)):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))
        elif kind is not None:
            stream.flush()
            raw = open(stream.fileno(), "wb", closefd=False)  # noqa: SIM115
            setattr(sys, name, kind(raw, "utf-8", stream.errors, line_buffering=stream.line_buffering))


class _Said(io.TextIOWrapper):
    """Standard output. Raises FatalConnectorError E4003 where it cannot be written, and BrokenPipeError where its
    reader has gone."""

    def write(self, text: str, /) -> int:
        with _writing():
            return super().write(text)

    def flush(self) -> None:
        with _writing():
            super().flush()


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        from ferrisstreams.connectors.stdout_sink import write_error

        raise write_error(error) from error


class _Told(io.TextIOWrapper):
    """Standard error, until it cannot be written: its reader has gone, its terminal was closed, its disk is full."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        """There is nowhere to say why. What is held goes to the null device with the rest."""
        let_go((self.fileno(),))


def let_go(descriptors: Iterable[int]) -> None:
    """From now on they are the null device."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in descriptors:
        os.dup2(null, descriptor)
    os.close(null)


def terminal_columns(stream: TextIO) -> int:
    """Of the terminal behind this stream, unless `COLUMNS` says it."""
    if (given := os.environ.get("COLUMNS", "")).isdecimal() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(stream.fileno()).columns or _COLUMNS
    except OSError:  # it was closed meanwhile
        return _COLUMNS
