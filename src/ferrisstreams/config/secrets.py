"""Which settings hold secrets, and where their values stand in a text: no error, log or page shows them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

#: What is shown in place of a secret.
MASK = "********"

#: Names of settings that hold a secret, and not only the path of one.
_SECRET = re.compile(
    r"password|passphrase|passwd|secret|credential|token$|key\.pem|ssl[._]key$|private[._]key$|api[._]?key$"
    r"|oauthbearer\.config|jaas|user\.info$"
)
#: The last word of a name that is misspelled is still one of these.
_WORDS = ("password", "passphrase", "secret", "token")
_LIKENESS = 0.75

_GAP = r"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
#: A name and the text behind it; a sign between is optional, because a text that does not parse is shown too.
_NAMED_TEXT = re.compile(
    rf"(?<![\w.\-])(?P<name>[A-Za-z_][\w.\-]*)['\"]?+{_GAP}(?::?=|=>|:)?{_GAP}(?P<quote>['\"])", re.DOTALL
)
#: A quoted name and a bare word behind it, as in `'sasl.password' = hunter2`, or in an annotation.
_NAMED_WORD = re.compile(rf"['\"@](?P<name>[A-Za-z_][\w.\-]*)['\"]?+{_GAP}(?::?=|=>|:){_GAP}(?P<word>[^\s,();'\"=:>]+)")


def is_secret(name: str) -> bool:
    """Whether a setting of this name holds a secret; also of one that is misspelled."""
    lowered = name.lower()
    last = re.split(r"[._\-]", lowered)[-1]
    return bool(_SECRET.search(lowered) or difflib.get_close_matches(last, _WORDS, n=1, cutoff=_LIKENESS))


def secret_spans(text: str) -> Iterator[tuple[int, int]]:
    """Where the values of secret settings stand in a text of SQL, without their quotes: start and stop, ascending.

    The text may be one that does not parse: that is when it is shown.
    """
    found = []
    for match in _NAMED_TEXT.finditer(text):
        if is_secret(match["name"]):
            found.append((match.end(), _close(text, match.end(), match["quote"])))
    found += [match.span("word") for match in _NAMED_WORD.finditer(text) if is_secret(match["name"])]
    yield from sorted(found)


def _close(text: str, start: int, quote: str) -> int:
    """Where a quoted text ends that begins at `start`; one that is never closed ends with the text."""
    at = start
    while (at := text.find(quote, at)) >= 0:
        if not text.startswith(quote, at + 1):
            return at
        at += 2
    return len(text)
