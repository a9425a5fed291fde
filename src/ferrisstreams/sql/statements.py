"""The statements of an application: what its text says, before any name or type is looked up."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from traceback import walk_tb
from typing import TypeAlias, cast

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from ferrisstreams.config.values import Property
from ferrisstreams.errors import FerrisError, SqlError, collecting
from ferrisstreams.plan.nodes import Emit
from ferrisstreams.sql.annotations import application_annotations, job_annotations
from ferrisstreams.sql.dialect import Ferris, FerrisParser
from ferrisstreams.sql.inline import Owners, modernised, modernised_declaration
from ferrisstreams.sql.lexer import Annotation, Piece, split
from ferrisstreams.sql.located_parser import LocatedParseError
from ferrisstreams.sql.refusals import refused_phrase
from ferrisstreams.sql.reserved import is_lost_name, quote_hint, refuse_lost_words
from ferrisstreams.sql.source_text import SourceText, Span, lowered
from ferrisstreams.sql.syntax import (
    CreateStream,
    CreateView,
    RefusedSyntaxError,
    SelectAlone,
    StreamColumn,
    StreamProperty,
    WatermarkFor,
    span_of,
    token_span,
)


@dataclass(frozen=True, slots=True)
class Name:
    """A name as written. A quoted one matches exactly, another without case."""

    text: str
    quoted: bool
    span: Span

    def matches(self, other: str) -> bool:
        return self.text == other if self.quoted else self.text.lower() == other.lower()


@dataclass(frozen=True, slots=True)
class ColumnDeclaration:
    name: Name
    type: exp.DataType
    not_null: bool
    span: Span


@dataclass(frozen=True, slots=True)
class Watermark:
    """`WATERMARK FOR column AS expression`."""

    column: Name
    expression: exp.Expression
    span: Span


@dataclass(frozen=True, slots=True)
class DeclareStream:
    """`CREATE STREAM name (columns) WITH (…)`: a source; without columns they are found in its records. `table`: it is
    `CREATE TABLE`, whose newest row of each `key` counts."""

    name: Name
    columns: tuple[ColumnDeclaration, ...]
    watermark: Watermark | None
    properties: Mapping[str, Property]
    span: Span
    table: bool = False
    key: tuple[Name, ...] = ()


@dataclass(frozen=True, slots=True)
class EmitWritten:
    emit: Emit
    span: Span


@dataclass(frozen=True, slots=True)
class StreamAs:
    """`CREATE STREAM name AS SELECT …`, or a SELECT alone (`name` None): a job. `table`: it is `CREATE TABLE`. `limit`:
    the rows after which a SELECT alone ends."""

    name: Name | None
    query: exp.Expression
    emit: EmitWritten | None
    properties: Mapping[str, Property]
    annotations: Mapping[str, Property]
    span: Span
    table: bool = False
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class View:
    """`CREATE VIEW name AS SELECT …`: a name for a query."""

    name: Name
    query: exp.Expression
    span: Span


Statement: TypeAlias = DeclareStream | StreamAs | View


@dataclass(frozen=True, slots=True)
class Script:
    """A parsed text: its statements in order, the application's annotations, and warnings for the author."""

    source: SourceText
    statements: tuple[Statement, ...]
    annotations: Mapping[str, Property]
    warnings: tuple[str, ...]


def parse_statements(text: str, path: str, errors: list[FerrisError] | None = None) -> Script:
    """Parse a whole text. Raises `SqlError` with an exact position; with `errors`, those of a statement go there, and
    the next one follows."""
    source = SourceText.from_text(path, text)
    pieces = split(source)
    if not any(piece.tokens for piece in pieces):
        raise source.error(Span(0, 0), "there is no statement here", "E1001", "write a CREATE STREAM or a SELECT")
    warnings: list[str] = []
    application: dict[str, Property] = {}
    statements: list[Statement] = []
    for index, piece in enumerate(pieces):
        notes = piece.before
        if index == 0:
            application, notes = application_annotations(source, notes, warnings)
        with collecting(errors):
            annotations = job_annotations(source, notes, piece.inside, warnings)
            if piece.tokens:
                statements.append(_statement(source, piece, annotations))
            if statements:
                _refuse_misplaced(source, piece, statements[-1], annotations)
    return Script(source, tuple(statements), application, tuple(warnings))


def _refuse_misplaced(
    source: SourceText, piece: Piece, statement: Statement, annotations: Mapping[str, Property]
) -> None:
    if not annotations or (piece.tokens and isinstance(statement, StreamAs)):
        return
    note = _first_known(piece, annotations)
    what = "a job's annotation stands before a job" if piece.tokens else "no statement follows this annotation"
    raise source.error(
        note.span,
        f"{what}: @{note.name}",
        "E1002",
        "put it right before the CREATE STREAM … AS SELECT that it describes",
    )


def _first_known(piece: Piece, annotations: Mapping[str, Property]) -> Annotation:
    return next(note for note in piece.before if note.name in annotations)


def _statement(source: SourceText, piece: Piece, annotations: Mapping[str, Property]) -> Statement:
    tree = _parse_piece(source, piece)
    span = token_span(piece.tokens[0]).through(token_span(piece.tokens[-1]))
    match tree:
        case CreateStream() if tree.args.get("query") is None:
            return _declaration(source, tree, span)
        case CreateStream() | SelectAlone():
            return _job(source, tree, annotations, span)
        case _:
            assert isinstance(tree, CreateView)
            return View(name_of(tree.this), tree.args["query"], span)


def _job(
    source: SourceText, tree: CreateStream | SelectAlone, annotations: Mapping[str, Property], span: Span
) -> StreamAs:
    """A job. `INTO name` names the sink that the properties are about, and a job that has no name otherwise."""
    into = tree.args.get("into")
    sink = name_of(into) if into is not None else None
    name = name_of(tree.this) if isinstance(tree, CreateStream) else sink
    query = tree.args["query"]
    written = sink if sink is not None else name
    owners = Owners(written.text if written is not None else None, _tables(query))
    topic = sink.text if sink is not None and name is not None and sink.text != name.text else None
    properties = modernised(_properties(source, tree), owners, topic)
    limit = _limit(source, query, span) if name is None else None
    return StreamAs(name, query, _emit(tree), properties, annotations, span, bool(tree.args.get("table")), limit)


def _limit(source: SourceText, query: exp.Expression, whole: Span) -> int | None:
    """`LIMIT n` of a SELECT alone, taken out of its query."""
    written = query.args.get("limit")
    if not isinstance(written, exp.Limit):
        return None
    count = written.expression
    if not isinstance(count, exp.Literal) or count.is_string or not count.this.isdecimal():
        span = span_of(count) or whole
        raise source.error(span, "LIMIT takes a whole number", "E1204", "write LIMIT 10")
    written.pop()
    return int(count.this)


def _tables(query: exp.Expression) -> tuple[str, ...]:
    """The names that a query reads, also those of its own WITH."""
    found = [table.name for table in query.find_all(exp.Table) if isinstance(table.this, exp.Identifier)]
    return tuple(dict.fromkeys(found))


def _parse_piece(source: SourceText, piece: Piece) -> exp.Expression:
    whole = token_span(piece.tokens[0])
    parser = cast(FerrisParser, Ferris().parser(max_nodes=_NODES_MAX))
    try:
        refuse_lost_words(piece.tokens)
        with _quiet():
            return _strip_comments(parser.parse_one_statement(list(piece.tokens), source.text))
    except RefusedSyntaxError as refused:
        raise source.error(refused.span, refused.message, refused.code, refused.hint) from refused
    except LocatedParseError as error:
        phrase = refused_phrase(piece.tokens)
        if phrase is not None:
            raise source.error(phrase.span, phrase.message, phrase.code, phrase.hint) from error
        raise _syntax_error(source, piece, error) from error
    except RecursionError as error:
        raise too_deep(source, whole) from error
    except Exception as error:
        # The parser is not ours, and on text that no grammar foresees it can fail in any way. What we do wrong stays.
        if not _is_of_parser(error):
            raise
        raise source.error(whole, "this statement cannot be parsed", "E1001", "simplify it") from error


def _is_of_parser(error: Exception) -> bool:
    """Whether the parser's own code raised it."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    return bool(frames) and str(frames[-1].f_globals.get("__name__", "")).partition(".")[0] == "sqlglot"


def _strip_comments(tree: exp.Expression) -> exp.Expression:
    """The parser hangs comments on nodes, from where they would get into plans and fingerprints."""
    for node in tree.walk():
        node.pop_comments()
    return tree


#: Binding costs about 0.15 ms a node; nobody writes a statement as large as this by hand.
_NODES_MAX = 20_000


def too_deep(source: SourceText, span: Span) -> SqlError:
    return source.error(
        Span(span.start, span.start + 1), "this statement is nested too deeply", "E1001", "split it with WITH or a view"
    )


_UNEXPECTED = "Invalid expression / Unexpected token"
_MISSING = "Required keyword"
_TOO_LARGE = "Maximum number of AST nodes"


def _syntax_error(source: SourceText, piece: Piece, error: LocatedParseError) -> SqlError:
    """sqlglot's message in words for the author."""
    span, message = error.span, str(error).partition(" but got ")[0]
    word = source.text[span.start : span.stop]
    if word.upper() == "EMIT" and not error.at_end and message in (_UNEXPECTED, "Expecting )"):
        return source.error(span, "EMIT belongs to the end of the statement", "E1001", "write it after the whole query")
    if message == _UNEXPECTED and (slip := _slip_before(piece, span)) is not None:
        slipped, meant = slip
        return source.error(
            token_span(slipped), f"{slipped.text} is not expected here", "E1001", f"did you mean {meant}?"
        )
    reserved = None if error.at_end else _word_of_sql(piece, span)
    if message == _UNEXPECTED:
        hint = "a statement ends with a semicolon; look for a missing comma or bracket"
        return source.error(span, f"{word!r} is not expected here", "E1001", reserved or hint)
    if message.startswith(_TOO_LARGE):
        hint = "split it with views, or with streams of their own"
        return source.error(token_span(piece.tokens[0]), "this statement is too large", "E1001", hint)
    if message.startswith(_MISSING):
        where = "after" if error.at_end else "before"
        return source.error(
            span, f"something is missing {where} {word!r}", "E1001", reserved or "complete the expression"
        )
    if message == "Expecting )":
        where = "but the statement ends here" if error.at_end else f"not {word!r}"
        return source.error(span, f"expected ), {where}", "E1001", reserved or "look for a bracket that is not closed")
    named = reserved if not message.startswith("Expected a value") else None
    ends = error.at_end and message.startswith("Expected") and "statement ends" not in message
    return source.error(span, lowered(message) + (", but the statement ends here" if ends else ""), "E1001", named)


def _word_of_sql(piece: Piece, span: Span) -> str | None:
    """Advice for a word that was perhaps meant as a name: that of the error, or else the one before it."""
    at = next((at for at, token in enumerate(piece.tokens) if token.start >= span.start), len(piece.tokens))
    behind = piece.tokens[at + 1 : at + 2]
    for token in piece.tokens[max(at - 1, 0) : at + 1][::-1]:
        if is_lost_name(token, behind if token.start >= span.start else piece.tokens[at : at + 1]):
            return quote_hint(token.text)
    return None


#: Words that a statement goes on with. One that is misspelled is taken for an alias.
_CLAUSES = ("FROM", "WHERE", "GROUP", "HAVING", "WINDOW", "EMIT")


def _slip_before(piece: Piece, span: Span) -> tuple[Token, str] | None:
    """The word before what is not expected, when it looks like a clause's, and that one."""
    at = next((number for number, token in enumerate(piece.tokens) if token.start == span.start), 0)
    word = piece.tokens[at - 1] if at else None
    if word is None or word.token_type != TokenType.VAR or word.text.upper() in _CLAUSES:
        return None
    near = get_close_matches(word.text.upper(), _CLAUSES, 1, 0.7)
    return (word, near[0]) if near else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep sqlglot from writing to the user's log: what it warns about is an error here, or does not matter."""
    logger = logging.getLogger("sqlglot")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


def name_of(node: exp.Expr) -> Name:
    """The name that an identifier writes."""
    assert isinstance(node, exp.Identifier)
    return Name(node.name, bool(node.args.get("quoted")), span_of(node) or Span(0, 0))


def _emit(tree: exp.Expression) -> EmitWritten | None:
    emit = tree.args.get("emit")
    if emit is None:
        return None
    return EmitWritten(Emit.FINAL if emit.this == "FINAL" else Emit.CHANGES, span_of(emit) or Span(0, 0))


def _declaration(source: SourceText, tree: CreateStream, span: Span) -> DeclareStream:
    columns: list[ColumnDeclaration] = []
    declared: set[str] = set()
    for column in tree.args["columns"]:
        assert isinstance(column, StreamColumn)
        name = name_of(column.this)
        if name.text.lower() in declared:
            raise source.error(name.span, f"column {name.text} is declared twice", "E1103", "give it another name")
        declared.add(name.text.lower())
        place = span_of(column) or name.span
        columns.append(ColumnDeclaration(name, column.args["kind"], bool(column.args.get("not_null")), place))
    watermarks = tree.args["watermarks"]
    if len(watermarks) > 1:
        raise source.error(span_of(watermarks[1]) or span, "a stream has one watermark", "E1103", "remove one of them")
    watermark = _watermark(watermarks[0]) if watermarks else None
    keys = [*(column.args["key"] for column in tree.args["columns"] if column.args.get("key")), *tree.args["keys"]]
    if len(keys) > 1:
        hint = "name all its columns in one: PRIMARY KEY (a, b)"
        raise source.error(span_of(keys[1]) or span, "a table has one PRIMARY KEY", "E1103", hint)
    key = tuple(name_of(name) for name in keys[0].expressions) if keys else ()
    stream = name_of(tree.this)
    properties = modernised_declaration(_properties(source, tree), stream.text)
    return DeclareStream(stream, tuple(columns), watermark, properties, span, bool(tree.args.get("table")), key)


def _watermark(tree: WatermarkFor) -> Watermark:
    name = name_of(tree.this)
    return Watermark(name, tree.args["expression"], span_of(tree) or name.span)


def _properties(source: SourceText, tree: exp.Expression) -> dict[str, Property]:
    found: dict[str, Property] = {}
    for item in tree.args.get("properties") or []:
        assert isinstance(item, StreamProperty)
        key, span = item.this.name, span_of(item.this) or Span(0, 0)
        if key in found:
            raise source.error(span, f"{key} is given twice", "E1103", "keep one of them")
        place = source.position(span_of(item.args["expression"]) or span)
        found[key] = Property(_value(item.args["expression"]), place)
    return found


def _value(node: exp.Expression) -> str | bool | int | float:
    if isinstance(node, exp.Boolean):
        return bool(node.this)
    if node.is_string:
        return str(node.name)
    number = str(node.name)
    return int(number) if number.lstrip("-").isdigit() else float(number)
