"""The fields of one CSV record."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Field:
    text: str
    quoted: bool


class FieldSplitter:
    def __init__(self, delimiter: str, quote: str) -> None:
        self._delimiter = delimiter
        self._quote = quote
        sep, mark = re.escape(delimiter), re.escape(quote)
        quoted = rf" *+{mark}((?:[^{mark}]|{mark}{mark})*+){mark} *+(?={sep}|\Z)"
        self._field = re.compile(rf"{quoted}|((?! *{mark})[^{sep}\r\n]*+)(?={sep}|\Z)")

    def split(self, record: str) -> list[Field] | None:
        """The fields of a record without its newline; None when a quote is not closed, or closed too early, or when a
        carriage return or a newline stands outside of quotes."""
        fields = []
        at = 0
        while True:
            match = self._field.match(record, at)
            if match is None:
                return None
            quoted = match[1] is not None
            value = match[1].replace(self._quote * 2, self._quote) if quoted else match[2]
            fields.append(Field(value, quoted))
            at = match.end()
            if at == len(record):
                return fields
            at += len(self._delimiter)
