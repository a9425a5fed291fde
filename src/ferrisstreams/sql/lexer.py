"""Text to statements: tokens without the semicolons, and the annotations that stand before each.

Comments are found here, because sqlglot keeps no place of them and takes an unclosed one for closed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from sqlglot.errors import TokenError
from sqlglot.tokenizer_core import Token, TokenType

from ferrisstreams.sql.dialect import Ferris
from ferrisstreams.sql.source_text import SourceText, Span

#: Quoted things, comments, and what opens one of them without closing it.
_LEXEME = re.compile(
    r"""(?P<escaped>\b[eE]'(?:[^'\\]|\\.|'')*')
      | (?P<dollar>\$(?P<tag>[A-Za-z_]*)\$.*?\$(?P=tag)\$)
      | (?P<quoted>'(?:[^']|'')*' | "(?:[^"]|"")*" | `(?:[^`]|``)*`)
      | (?P<line>--[^\r\n]*)
      | (?P<block>/\*)
      | (?P<open>['"`]|(?<!\w)\$[A-Za-z_]*\$)""",
    re.VERBOSE | re.DOTALL,
)
_BLOCK_MARK = re.compile(r"/\*|\*/")
_ANNOTATION = re.compile(r"--[ \t]*@([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*(?::[ \t]*(.*?))?[ \t]*$")
_HEADER = re.compile(r"--[ \t]*SQL Application:[ \t]*(.*?)[ \t]*$", re.I)
_NOT_TEXT = re.compile("[\x00\ud800-\udfff\ufffd]")


@dataclass(frozen=True, slots=True)
class Annotation:
    """`-- @name: value`; `is_header` for the predecessor's `-- SQL Application: name`."""

    name: str
    value: str
    span: Span
    is_header: bool = False


@dataclass(frozen=True, slots=True)
class Comment:
    """`-- …` (`is_line`) or `/* … */`, as written."""

    text: str
    is_line: bool
    span: Span


@dataclass(frozen=True, slots=True)
class Piece:
    """One statement's tokens with the annotations in front of it and inside it. The last piece may have no tokens."""

    tokens: tuple[Token, ...]
    before: tuple[Annotation, ...]
    inside: tuple[Annotation, ...]


def split(source: SourceText) -> list[Piece]:
    """The statements of a text. Raises `SqlError` for what is no SQL text at all."""
    junk = _NOT_TEXT.search(source.text)
    if junk is not None:
        raise source.error(
            Span(junk.start(), junk.end()), "not valid text", "E1001", "an application is a file of SQL in UTF-8"
        )
    annotations = _annotations(source)
    return _pieces(tokenize(source), annotations)


def tokenize(source: SourceText) -> list[Token]:
    """All tokens, semicolons too. Raises `SqlError`."""
    try:
        tokens = Ferris().tokenize(source.text)
    except TokenError as error:
        raise source.error(Span(0, 1), "this text cannot be read as SQL", "E1001") from error
    for before, token in pairwise(tokens):
        # To sqlglot a word behind `@` is a parameter's name; to the engine `@ NULL` is an operator and a value.
        if before.token_type == TokenType.PARAMETER and token.token_type == TokenType.VAR:
            token.token_type = Ferris.Tokenizer.KEYWORDS.get(token.text.upper(), TokenType.VAR)
    return tokens


def _pieces(tokens: list[Token], annotations: list[Annotation]) -> list[Piece]:
    groups: list[list[Token]] = [[]]
    for token in tokens:
        if token.token_type == TokenType.SEMICOLON:
            groups.append([])
        else:
            groups[-1].append(token)
    pieces: list[Piece] = []
    rest = annotations
    for group in groups:
        if not group:
            continue
        before = [note for note in rest if note.span.start < group[0].start]
        inside = [note for note in rest if group[0].start < note.span.start < group[-1].end]
        rest = rest[len(before) + len(inside) :]
        pieces.append(Piece(tuple(group), tuple(before), tuple(inside)))
    if rest:
        pieces.append(Piece((), tuple(rest), ()))
    return pieces


def _annotations(source: SourceText) -> list[Annotation]:
    found = [annotation_of(comment) for comment in comments(source)]
    return [note for note in found if note is not None]


def annotation_of(comment: Comment) -> Annotation | None:
    """The annotation that a comment is; None for any other."""
    header = _HEADER.match(comment.text) if comment.is_line else None
    if header is not None:
        return Annotation("app", header[1], comment.span, is_header=True)
    match = _ANNOTATION.match(comment.text) if comment.is_line else None
    if match is None:
        return None
    name = match[1].lower()
    return Annotation(_SAME.get(name, name), match[2] or "", comment.span)


#: Other names of annotations.
_SAME = {"application": "app"}


def comments(source: SourceText) -> Iterator[Comment]:
    """All comments. Raises `SqlError` for one, or for a quoted thing, that is never closed."""
    at, text = 0, source.text
    while (match := _LEXEME.search(text, at)) is not None:
        at = match.end()
        if match["line"] is not None:
            yield Comment(text[match.start() : match.end()], True, Span(match.start(), match.end()))
        elif match["block"] is not None:
            at = _block_end(source, match.start())
            yield Comment(text[match.start() : at], False, Span(match.start(), at))
        elif match["open"] is not None:
            mark = match["open"]
            what = "name" if mark in '"`' else "text"
            doubled = "" if mark.startswith("$") else "; a quote inside is doubled"
            raise source.error(
                Span(match.start(), match.end()),
                f"this quoted {what} is never closed",
                "E1001",
                f"put {mark} at its end{doubled}",
            )


def _block_end(source: SourceText, start: int) -> int:
    depth = 0
    for mark in _BLOCK_MARK.finditer(source.text, start):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    raise source.error(Span(start, start + 2), "this comment is never closed", "E1001", "put */ at its end")
