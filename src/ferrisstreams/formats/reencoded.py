"""Rows of a source in another encoding: a dead letter holds the bytes as they are in the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlglot import exp

from ferrisstreams.batch import Diagnosis, Fetch, RawRecord
from ferrisstreams.connectors.file_content import Encoding, original
from ferrisstreams.formats.base import Decoder


class Reencoded:
    """A decoder whose source turned its bytes into UTF-8."""

    def __init__(self, decoder: Decoder, encoding: Encoding) -> None:
        self._decoder = decoder
        self._encoding = encoding

    def scan(self, fetch: Fetch) -> exp.Select:
        return self._decoder.scan(fetch)

    def diagnose(self, fetch: Fetch) -> Diagnosis:
        found = self._decoder.diagnose(fetch)
        rejected = [
            row if row.value is None else replace(row, value=original(row.value, self._encoding))
            for row in found.rejected
        ]
        return replace(found, rejected=rejected)

    def raw(self, fetch: Fetch, rows: Sequence[int]) -> list[RawRecord]:
        found = self._decoder.raw(fetch, rows)
        return [
            record if record.value is None else replace(record, value=original(record.value, self._encoding))
            for record in found
        ]
