"""`ferris fmt`: the canonical form of a text, with its comments.

The printer makes the canonical text of each statement and knows no comments. Here the tokens of both texts are matched,
and each comment goes where its neighbour went: one that stands behind a token on a line, to the end of that token's
line; one on a line of its own, above the line of the token that follows it. Formatting again changes nothing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher

from sqlglot.tokenizer_core import Token, TokenType

from ferrisstreams.duck.scratch import scratch_engine
from ferrisstreams.errors import InternalError
from ferrisstreams.sql.context import Context
from ferrisstreams.sql.function_aliases import resolve_aliases
from ferrisstreams.sql.functions import load_functions
from ferrisstreams.sql.lexer import Comment, annotation_of, comments, tokenize
from ferrisstreams.sql.printer import print_script, print_statement
from ferrisstreams.sql.source_text import SourceText
from ferrisstreams.sql.statements import DeclareStream, Script, Statement, parse_statements, too_deep
from ferrisstreams.sql.syntax import StreamWindow, WindowBound
from ferrisstreams.sql.window_binding import check_windows


def format_text(text: str, path: str) -> str:
    """The canonical form, ending with a newline. It parses to the same statements, with the same comments.

    Raises `SqlError` for a text that does not parse, and for a window that is not the one it says it is.
    """
    script = parse_statements(text, path)
    _check_windows(script)
    formatted = _Formatter(script).text()
    _check(script, formatted)
    return formatted


def _check_windows(script: Script) -> None:
    statements = [each for each in script.statements if not isinstance(each, DeclareStream)]
    windowed = [each for each in statements if each.query.find(StreamWindow, WindowBound) is not None]
    if not windowed:
        return
    with scratch_engine() as engine:
        functions = load_functions(engine.work)
        for statement in windowed:
            context = Context(script.source, engine.work, functions, statement.span)
            check_windows(context, resolve_aliases(context, statement.query))


def _check(script: Script, formatted: str) -> None:
    """Nothing that a file says may be lost: a formatter that does so must not write it."""
    again = parse_statements(formatted, script.source.path)
    if print_script(again) != print_script(script):
        raise InternalError("the formatted text would mean something else")
    if sorted(_texts(again.source)) != sorted(_texts(script.source)):
        raise InternalError("the formatted text would lose a comment")


def _texts(source: SourceText) -> list[str]:
    """What the comments say, word by word: two can have become one."""
    return " ".join(comment.text for comment in _tidied(source)).split()


def _tidied(source: SourceText) -> list[Comment]:
    """All comments, with annotations in their one form and line breaks as we write them."""
    found = []
    for comment in comments(source):
        note = annotation_of(comment)
        text = comment.text.replace("\r\n", "\n").rstrip()
        if note is not None and not note.is_header:
            text = f"-- @{note.name}: {note.value}".rstrip()
        found.append(replace(comment, text=text))
    return found


@dataclass(slots=True)
class _Places:
    """Where the comments of one statement go. `head` are those above it, with None for an empty line, `tail` those
    behind its end, `above` and `behind` those at its tokens, by their number in the statement as written."""

    head: list[Comment | None] = field(default_factory=list)
    tail: list[Comment] = field(default_factory=list)
    above: dict[int, list[Comment]] = field(default_factory=lambda: defaultdict(list))
    behind: dict[int, list[Comment]] = field(default_factory=lambda: defaultdict(list))


def _printed(source: SourceText, statement: Statement) -> str:
    try:
        return print_statement(statement, annotations=False)
    except RecursionError as error:
        raise too_deep(source, statement.span) from error


class _Formatter:
    def __init__(self, script: Script) -> None:
        self._script = script
        self._tokens = tokenize(script.source)
        self._starts = [token.start for token in self._tokens]
        self._statement_of, self._numbers = _numbered(self._tokens)
        self._comments = _tidied(script.source)
        self._comment_starts = [comment.span.start for comment in self._comments]
        self._places = [_Places() for _ in script.statements]
        self._end: list[Comment | None] = []

    def text(self) -> str:
        for comment in self._comments:
            self._place(comment)
        for at, token in enumerate(self._tokens):
            if self._numbers[at] > 0 or token.token_type == TokenType.SEMICOLON:
                continue
            head = self._places[self._statement_of[at]].head
            if head and self._is_blank_above(token.start):
                head.append(None)
        blocks = [
            _block(_printed(self._script.source, statement), self._written(index), places)
            for index, (statement, places) in enumerate(zip(self._script.statements, self._places, strict=True))
        ]
        if self._end:
            blocks.append("\n".join(_head(self._end)))
        return "\n\n".join(blocks) + "\n"

    def _written(self, statement: int) -> list[Token]:
        return [token for token, at in zip(self._tokens, self._statement_of, strict=True) if at == statement]

    def _place(self, comment: Comment) -> None:
        following = bisect_right(self._starts, comment.span.start)
        before = following - 1
        if before >= 0 and self._fits_one_line(self._tokens[before], comment):
            self._place_behind(before, comment)
            return
        while following < len(self._tokens) and self._tokens[following].token_type == TokenType.SEMICOLON:
            if self._numbers[following] > 0:
                break
            following += 1
        if following == len(self._tokens):
            _append(self._end, comment, self._is_blank_above(comment.span.start))
        elif self._numbers[following] == 0:
            _append(self._places[self._statement_of[following]].head, comment, self._is_blank_above(comment.span.start))
        else:
            self._places[self._statement_of[following]].above[self._numbers[following]].append(comment)

    def _place_behind(self, before: int, comment: Comment) -> None:
        if self._tokens[before].token_type != TokenType.SEMICOLON:
            self._places[self._statement_of[before]].behind[self._numbers[before]].append(comment)
        elif self._statement_of[before] >= 0:
            self._places[self._statement_of[before]].tail.append(comment)
        else:
            _append(self._places[0].head, comment, False)

    def _fits_one_line(self, token: Token, comment: Comment) -> bool:
        """Whether nothing but other comments breaks the line between them."""
        start, text = token.end + 1, self._script.source.text
        first, last = (bisect_left(self._comment_starts, at) for at in (start, comment.span.start))
        for other in self._comments[first:last]:
            if "\n" in text[start : other.span.start]:
                return False
            start = other.span.stop
        return "\n" not in text[start : comment.span.start]

    def _is_blank_above(self, start: int) -> bool:
        """Whether an empty line stands above the line that begins with this."""
        text = self._script.source.text
        gap = text[len(text[:start].rstrip()) : start]
        return gap.count("\n") > 1


def _append(comments_: list[Comment | None], comment: Comment, blank: bool) -> None:
    if blank and comments_:
        comments_.append(None)
    comments_.append(comment)


def _numbered(tokens: Sequence[Token]) -> tuple[list[int], list[int]]:
    """For each token its statement and its number there. A semicolon ends its statement; one without belongs to the
    statement before it (-1: to none) and has the number 0."""
    statements, numbers = [], []
    statement, number = -1, 0
    for token in tokens:
        semicolon = token.token_type == TokenType.SEMICOLON
        if number == 0 and not semicolon:
            statement += 1
        statements.append(statement)
        numbers.append(number)
        number = 0 if semicolon else number + 1
    return statements, numbers


# One statement


def _block(printed: str, written: Sequence[Token], places: _Places) -> str:
    """The statement with its comments."""
    text = SourceText.from_text("", printed + ";")
    lines = _Lines(text)
    matched = _matched(written, lines.tokens)
    for number, found in places.above.items():
        lines.put_above(_next(matched, number, len(lines.tokens) - 1), found)
    for number, found in places.behind.items():
        lines.put_behind(_previous(matched, number), found)
    lines.put_behind(len(lines.tokens) - 1, places.tail)
    return "\n".join([*_head(places.head), *lines.render()])


def _head(found: Sequence[Comment | None]) -> list[str]:
    return ["" if comment is None else comment.text for comment in found]


def _matched(written: Sequence[Token], printed: Sequence[Token]) -> dict[int, int]:
    """Tokens as written -> tokens as printed, as far as they are the same."""
    one, other = ([token.text.upper() for token in tokens] for tokens in (written, printed))
    # Most of a statement is printed in its order: the matcher's time grows with the square of what it is given.
    head = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    found = {at: at for at in range(head)}
    for block in SequenceMatcher(None, one[head:], other[head:], autojunk=False).get_matching_blocks():
        found.update((head + block.a + step, head + block.b + step) for step in range(block.size))
    return found


def _next(matched: dict[int, int], number: int, last: int) -> int:
    """Where the token, or the first matched one after it, was printed. The keys of `matched` are in order."""
    found = list(matched)
    at = bisect_left(found, number)
    return matched[found[at]] if at < len(found) else last


def _previous(matched: dict[int, int], number: int) -> int:
    """Where the token, or the last matched one before it, was printed."""
    found = list(matched)
    at = bisect_right(found, number)
    return matched[found[at - 1]] if at else 0


class _Lines:
    """The printed lines and the comments above and behind them. A line break inside a token is not a place for one."""

    def __init__(self, source: SourceText) -> None:
        self.tokens = tokenize(source)
        self._source = source
        self._lines = source.text.split("\n")
        self._above: dict[int, list[Comment]] = defaultdict(list)
        self._behind: dict[int, list[Comment]] = defaultdict(list)
        self._torn = {
            line for token in self.tokens for line in range(self._line(token.start) + 1, self._line(token.end) + 1)
        }

    def put_above(self, token: int, found: Sequence[Comment]) -> None:
        line = self._line(self.tokens[token].start)
        while line in self._torn:
            line -= 1
        self._above[line].extend(found)

    def put_behind(self, token: int, found: Sequence[Comment]) -> None:
        line = self._line(self.tokens[token].end)
        while line + 1 in self._torn:
            line += 1
        self._behind[line].extend(found)

    def render(self) -> list[str]:
        out: list[str] = []
        for number, line in enumerate(self._lines):
            indent = line[: len(line) - len(line.lstrip(" "))]
            above = sorted(self._above[number], key=lambda comment: comment.span.start)
            out.extend(indent + comment.text for comment in above)
            # A line comment takes the rest of its line: it stands last.
            behind = sorted(self._behind[number], key=lambda comment: (comment.is_line, comment.span.start))
            out.append(" ".join([line, *(comment.text for comment in behind)]))
        return out

    def _line(self, offset: int) -> int:
        return bisect_right(self._source.starts, offset) - 1
