"""Whether the plain reader sees each message as one record.

The values of a batch stand in the memory file, a newline after each. That is what the reader would see if every value
were one line with a record in it; the checks here are cheap and may call a sound batch unsound, never the reverse.
"""

from __future__ import annotations

from ferrisstreams.batch import Fetch


def json_framed(fetch: Fetch) -> bool:
    """Every value is one line that begins with a brace: no line is blank, `null`, or two records."""
    if fetch.messages is None:
        return True
    joined = fetch.messages.joined
    if joined is None or not fetch.messages.single_lines:
        return False
    return joined.startswith(b"{") and joined.count(b"\n{") == len(fetch.messages) - 1


def csv_framed(fetch: Fetch, quote: str) -> bool:
    """Every value is one line that is not blank, and leaves no quote open."""
    if fetch.messages is None:
        return True
    joined = fetch.messages.joined
    if joined is None or not fetch.messages.single_lines or b"\r" in joined:
        return False
    if joined.startswith(b"\n") or b"\n\n" in joined:
        return False
    mark = quote.encode()
    return mark not in joined or all(value is None or not value.count(mark) & 1 for value in fetch.messages.values)
