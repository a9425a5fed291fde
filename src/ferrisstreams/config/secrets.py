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

#: A name in front of what may be a value; a setting that is commented out is shown too.
_CANDIDATE = re.compile(r"(?:(?<![\w.\-])|(?<=--))(?P<name>[A-Za-z_](?:[\w.]|-(?!-))*+)['\"]?+\s*+(?=[:='\"]|--|/\*)")
#: What may stand between a name, the sign and the value, beside comments in brackets: one piece of it.
_BLANK = re.compile(r"\s++|--[^\n]*+\n")
_SIGN = re.compile(r":?=>?|:")
#: A bare word, as in `'sasl.password' = hunter2`, or in an annotation: only behind a name that is marked as one.
_WORD = re.compile(r"[^\s,();'\"=:>]+")
_MARKS, _QUOTES = "'\"@", "'\""


def is_secret(name: str) -> bool:
    """Whether a setting of this name holds a secret; also of one that is misspelled."""
    lowered = name.lower()
    last = re.split(r"[._\-]", lowered)[-1]
    return bool(_SECRET.search(lowered) or difflib.get_close_matches(last, _WORDS, n=1, cutoff=_LIKENESS))


def secret_spans(text: str) -> Iterator[tuple[int, int]]:
    """Where the values of secret settings stand in a text of SQL, without their quotes: start and stop, ascending.

    The text may be one that does not parse: that is when it is shown.
    """
    found: list[tuple[int, int]] = []
    ends: dict[int, int] = {}
    for match in _CANDIDATE.finditer(text):
        at = skip_blanks(text, match.end(), ends)
        sign = _SIGN.match(text, at)
        at = skip_blanks(text, sign.end(), ends) if sign is not None else at
        quote = text[at : at + 1]
        if quote and quote in _QUOTES:
            span = (at + 1, _close(text, at + 1, quote))
        elif sign is None or text[max(match.start() - 1, 0)] not in _MARKS or (word := _WORD.match(text, at)) is None:
            continue
        else:
            span = word.span()
        if is_secret(match["name"]):
            found.append(span)
    stop = -1
    for span in sorted(found):
        if span[1] > stop:
            yield max(stop, span[0]), span[1]
            stop = span[1]


def skip_blanks(text: str, at: int, ends: dict[int, int]) -> int:
    """Where the space and comments from `at` on end. `ends` remembers it for every piece of them: each name at the end
    of a comment is in front of all comments that follow."""
    passed = []
    while at not in ends and (stop := _blank_end(text, at)) is not None:
        passed.append(at)
        at = stop
    end = ends.get(at, at)
    ends.update(dict.fromkeys(passed, end))
    return end


def _blank_end(text: str, at: int) -> int | None:
    """Where the space or comment at `at` ends, or None when there is neither."""
    if text.startswith("/*", at):
        close = text.find("*/", at + 2)
        return close + 2 if close >= 0 else None
    blank = _BLANK.match(text, at)
    return blank.end() if blank is not None else None


def _close(text: str, start: int, quote: str) -> int:
    """Where a quoted text ends that begins at `start`; one that is never closed ends with the text."""
    at = start
    while (at := text.find(quote, at)) >= 0:
        if not text.startswith(quote, at + 1):
            return at
        at += 2
    return len(text)
