"""Outages: what makes watched sources, sinks and transactions (`runtime/watched.py`) fail at some of their calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ferrisstreams.errors import FerrisError


@dataclass(slots=True)
class Outage:
    """The calls named `call` (`open`, `poll`, `write`, `flush` …) go well `after` times, and then fail `times` times.

    With `done` the call does its work before it fails: its answer is what is lost.
    """

    call: str
    error: Exception
    times: int = 1
    after: int = 0
    done: bool = False

    def strikes(self, call: str) -> bool:
        """Whether this call fails; counts it."""
        if call != self.call or self.times == 0:
            return False
        if self.after:
            self.after -= 1
            return False
        self.times -= 1
        return True

    def raised(self) -> Exception:
        """A new error like the one given."""
        error = self.error
        return type(error)(error.message, error.code, error.hint) if isinstance(error, FerrisError) else error


class Outages:
    """Of one outside system. It outlives the job that meets it, as the system does."""

    def __init__(self, *outages: Outage) -> None:
        self._outages = outages

    @contextmanager
    def watch(self, call: str) -> Iterator[None]:
        """Around a call: fails in its place, or behind it."""
        struck = [outage for outage in self._outages if outage.strikes(call)]
        if struck and not struck[0].done:
            raise struck[0].raised()
        yield
        if struck:
            raise struck[0].raised()
