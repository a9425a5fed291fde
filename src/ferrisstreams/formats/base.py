"""What a format is: bytes to typed columns and back, as expressions that the engine runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sqlglot import exp

from ferrisstreams.batch import Diagnosis, Fetch, RawRecord
from ferrisstreams.schema import Schema

#: The column that gives a row's ordinal in its fetch, from 0, without gaps for blank lines (they are not rows).
ROW = "_row"


class Decoder(Protocol):
    """Bytes to columns. A decoder is made for one source: its schema, its time settings and its format settings.

        Fetch.records (a file in memory) ── scan ──▶ _row, a, b …   typed, one statement of the engine
                     │
                     └── DataError ── diagnose ──▶ good rows (same columns)   +   a Rejected for each other record

    A record that does not decode is a value, not an exception. Whether it decodes depends on it alone, not on its
    batch. The columns are as the source declares them, in its names and types.
    """

    def scan(self, fetch: Fetch) -> exp.Select:
        """A SELECT that yields `_row` (BIGINT) and every declared column with its declared type, checked.

        Running it raises DataError when any record of the fetch does not decode; so does this call, where that is known
        already. Its text depends on the fetch only
        where it must: as long as the same object comes back, the statement built over it can be kept. It must not be
        changed.
        """

    def diagnose(self, fetch: Fetch) -> Diagnosis:
        """After a data error: the good rows as a relation of the engine (same columns as `scan`, original `_row`, in
        order), and the others as rejected values in the order of their rows. Whether a record is rejected depends on it
        alone. The fetch stays valid."""

    def raw(self, fetch: Fetch, rows: Sequence[int]) -> list[RawRecord]:
        """The original records of these ordinals (ascending), for dead letters."""


class Encoder(Protocol):
    """Rows to bytes: an expression that the engine evaluates with the rows, so that no row becomes a Python object.

    a, b …  ── line ──▶ '{"a":1,"b":"x"}'  ── the stage joins the lines ──▶ Payload.data
    """

    def line(self, schema: Schema) -> exp.Expression:
        """A VARCHAR expression over the columns of `schema`: the row as text without its terminator; NULL for a row
        that cannot be encoded."""

    def header(self, schema: Schema) -> bytes:
        """What a new file begins with (the CSV header line, with its newline); empty for most formats."""
