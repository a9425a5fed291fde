"""What the plain reader must see so that each message is one record to it.

The values of a batch stand in the memory file, a newline after each. That is what the reader would see if every value
were one line with a record in it; the checks here are cheap and may call a sound batch unsound, never the reverse.
"""

from __future__ import annotations

from ferrisstreams.batch import Fetch, Messages
from ferrisstreams.formats.csv_records import CsvRecords
from ferrisstreams.memory_file import MemoryFile

#: A line that is not a record, for a message that holds none.
_NO_RECORD = b"?"
_BOM = b"\xef\xbb\xbf"


def json_block(messages: Messages, block: MemoryFile) -> None:
    """See to it that the file has one line for each message, and none that is blank.

    A newline within a message stands between its tokens, where a tab says the same; within a string both are malformed.
    """
    joined = messages.joined
    as_lines = joined is not None and messages.single_lines and joined.startswith(b"{")
    if joined is not None and as_lines and joined.count(b"\n{") == len(messages) - 1:
        return
    most = messages.value_bytes_max
    lines = [
        value.replace(b"\n", b"\t")
        if len(value) <= most and value.strip() and not value.startswith(_BOM)
        else _NO_RECORD
        for value in messages.values
    ]
    block.write(b"\n".join([*lines, b""]))


def csv_framed(fetch: Fetch, records: CsvRecords) -> bool:
    """Every value is one line that is not blank, and leaves no quote open."""
    if fetch.messages is None:
        return True
    joined = fetch.messages.joined
    if joined is None or not fetch.messages.single_lines or b"\r" in joined:
        return False
    if joined.startswith(b"\n") or b"\n\n" in joined:
        return False
    return records.are_sound(joined, fetch.messages.values)
