"""Reads test files. The format is described in `docs/testing.md`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from ferrisstreams.errors import ConnectorError, FatalConnectorError, Position, SqlError
from ferrisstreams.testing.case import Case, Content, Expectation, RawRecords, Span, StreamInput, Table
from ferrisstreams.testing.cells import Cell, CellError, split

LEDGER_NAMES = (
    "read",
    "emitted",
    "absorbed",
    "filtered",
    "late",
    "deduplicated",
    "dead_lettered",
    "skipped",
    "produced",
    "written",
    "output_rejected",
    "derived_rejected",
)

_SECTION = re.compile(r"(dead letters|[a-z]+)\b[ \t]*(.*)")
_BYTE = re.compile(rb"\\x([0-9a-fA-F]{2})")
_STREAM = re.compile(r'("[^"]+"|\w+)\s*(\(.*)', re.S)


@dataclass(frozen=True, slots=True)
class _Section:
    """A keyword at the margin, the rest of its line, and the indented lines below."""

    keyword: str
    head: str
    line: int
    body: tuple[str, ...]

    @property
    def last_line(self) -> int:
        return self.line + len(self.body)


@dataclass(slots=True)
class _Draft:
    """A case while it is read."""

    title: str
    line: int
    last_line: int = 0
    streams: dict[str, StreamInput] = field(default_factory=dict)
    own_streams: set[str] = field(default_factory=set)
    open_stream: str | None = None
    settings: dict[str, str] = field(default_factory=dict)
    query: str = ""
    output: Table | None = None
    ledger: Mapping[str, int] | None = None
    letters: Table | None = None
    error: tuple[str, ...] = ()
    batch_rows: int | None = None
    no_batch_answer: str | None = None
    spans: dict[str, Span] = field(default_factory=dict)


def read(path: Path) -> list[Case]:
    """The cases of a file, in order. Raises `SqlError` with the place of what cannot be read."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    return parse(path, text)


def parse(path: Path, text: str) -> list[Case]:
    """The cases of a text; `path` is for names and messages."""
    return _Reader(path, text).cases()


def _unreadable(path: Path, error: Exception) -> ConnectorError:
    return FatalConnectorError(f"{path} cannot be read: {error}", "E4001", "check the path and its permissions")


class _Reader:
    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = text.splitlines()

    def cases(self) -> list[Case]:
        shared = _Draft("", 0)
        drafts: list[_Draft] = []
        for part in self._parts():
            match part:
                case int() as line:
                    drafts.append(self._begin(shared, line))
                case section:
                    self._add(drafts[-1] if drafts else shared, section)
        if shared.query or shared.spans:
            raise self._error(shared.last_line, "a query stands before the first `# title`")
        return [self._finished(draft) for draft in drafts]

    def _parts(self) -> Iterator[int | _Section]:
        """Line numbers of titles, and sections."""
        number = 0
        while number < len(self._lines):
            line = self._lines[number]
            number += 1
            if line.startswith("#"):
                yield number
                while number < len(self._lines) and self._lines[number].startswith("#"):
                    number += 1
            elif line.strip():
                section = self._section(number)
                yield section
                number = section.last_line

    def _section(self, number: int) -> _Section:
        found = _SECTION.fullmatch(self._lines[number - 1])
        if found is None:
            raise self._error(number, "a line at the margin begins with a section's name")
        body: list[str] = []
        for line in self._lines[number:]:
            if line[:1] not in ("", " ", "\t"):
                break
            body.append(line)
        while body and not body[-1].strip():
            body.pop()
        return _Section(found.group(1), found.group(2).strip(), number, tuple(body))

    def _begin(self, shared: _Draft, line: int) -> _Draft:
        title = self._lines[line - 1].lstrip("#").strip()
        if not title:
            raise self._error(line, "a case has no title")
        draft = _Draft(title, line)
        draft.streams = dict(shared.streams)
        draft.settings = dict(shared.settings)
        return draft

    def _add(self, draft: _Draft, section: _Section) -> None:
        reader = _SECTIONS.get(section.keyword)
        if reader is None:
            names = ", ".join(sorted(_SECTIONS))
            raise self._error(section.line, f"no section is called {section.keyword!r}", f"there are: {names}")
        if section.keyword in draft.spans:
            raise self._error(section.line, f"the case has two sections {section.keyword!r}")
        if section.head and section.keyword in _ALONE:
            raise self._error(section.line, f"{section.keyword} stands alone on its line: what it holds comes below")
        if section.keyword not in _REPEATED:
            draft.spans[section.keyword] = Span(section.line, section.last_line)
        draft.last_line = section.last_line
        reader(self, draft, section)

    def _finished(self, draft: _Draft) -> Case:
        if not draft.query:
            raise self._error(draft.line, f"the case {draft.title!r} has no query")
        return Case(
            path=self._path,
            line=draft.line,
            title=draft.title,
            streams=tuple(draft.streams.values()),
            settings=MappingProxyType(draft.settings),
            query=draft.query,
            expected=Expectation(draft.output, draft.ledger, draft.letters, draft.error),
            batch_rows=draft.batch_rows,
            no_batch_answer=draft.no_batch_answer,
            spans=MappingProxyType(draft.spans),
            last_line=draft.last_line,
        )

    # -- sections

    def stream(self, draft: _Draft, section: _Section) -> None:
        head, body = self._declaration(section)
        found = _STREAM.fullmatch(head)
        if found is None:
            raise self._error(section.line, "expected `stream name (columns)`")
        name = found.group(1)
        if name in draft.own_streams:
            raise self._error(section.line, f"the stream {name} is declared twice", "use `partition` for more rows")
        draft.own_streams.add(name)
        draft.open_stream = name
        draft.streams.pop(name, None)
        content = {"0": self._table(body, section)} if any(line.strip() for line in body) else {}
        draft.streams[name] = StreamInput(name, head, content)

    def _declaration(self, section: _Section) -> tuple[str, tuple[str, ...]]:
        """The text up to the line on which its parentheses close, and the lines after."""
        head = section.head
        taken = 0
        while _open_parentheses(head) and taken < len(section.body):
            head += "\n" + section.body[taken]
            taken += 1
        if _open_parentheses(head):
            raise self._error(section.line, "a parenthesis is not closed")
        while taken < len(section.body) and section.body[taken].lstrip().upper().startswith("WITH ("):
            head += "\n" + section.body[taken]
            taken += 1
        return head, section.body[taken:]

    def partition(self, draft: _Draft, section: _Section) -> None:
        self._put(draft, section, self._table(section.body, section))

    def json(self, draft: _Draft, section: _Section) -> None:
        self._put(draft, section, RawRecords("json", self._records(section)))

    def csv(self, draft: _Draft, section: _Section) -> None:
        self._put(draft, section, RawRecords("csv", self._records(section)))

    def _put(self, draft: _Draft, section: _Section, content: Content) -> None:
        if draft.open_stream is None:
            raise self._error(section.line, f"{section.keyword} stands before any stream")
        stream = draft.streams[draft.open_stream]
        name = section.head or str(len(stream.partitions))
        if name in stream.partitions:
            raise self._error(section.line, f"the stream {stream.name} has two partitions {name}")
        partitions = {**stream.partitions, name: content}
        draft.streams[stream.name] = StreamInput(stream.name, stream.declaration, partitions)

    def _records(self, section: _Section) -> tuple[bytes, ...]:
        """Lines without their indent of two; `\\xHH` is a byte."""
        raw = (line[2:].encode() for line in section.body)
        return tuple(_BYTE.sub(lambda found: bytes([int(found.group(1), 16)]), line) for line in raw)

    def with_(self, draft: _Draft, section: _Section) -> None:
        for number, line in enumerate(section.body, section.line + 1):
            name, sign, value = line.partition("=")
            if not sign:
                raise self._error(number, "expected `key = value`")
            draft.settings[name.strip()] = value.strip()

    def query(self, draft: _Draft, section: _Section) -> None:
        draft.query = "\n".join((section.head, *section.body)).strip()
        if not draft.query:
            raise self._error(section.line, "the query is empty")

    def output(self, draft: _Draft, section: _Section) -> None:
        draft.output = self._table(section.body, section)

    def letters(self, draft: _Draft, section: _Section) -> None:
        draft.letters = self._table(section.body, section)

    def error(self, draft: _Draft, section: _Section) -> None:
        lines = [line.strip() for line in (section.head, *section.body) if line.strip()]
        if not lines:
            raise self._error(section.line, "expected an error code")
        code, _, rest = lines[0].partition(" ")
        draft.error = tuple(piece for piece in (code, rest.strip(), *lines[1:]) if piece)

    def ledger(self, draft: _Draft, section: _Section) -> None:
        words = " ".join((section.head, *section.body)).split()
        counts: dict[str, int] = {}
        for name, count in zip(words[::2], words[1::2], strict=False):
            if name not in LEDGER_NAMES or not count.isdigit():
                raise self._error(section.line, f"{name} {count} is not a count", f"names: {', '.join(LEDGER_NAMES)}")
            counts[name] = int(count)
        if len(words) % 2:
            raise self._error(section.line, f"{words[-1]} has no count")
        draft.ledger = counts

    def schedule(self, draft: _Draft, section: _Section) -> None:
        found = re.fullmatch(r"fixed ([1-9]\d*)", section.head)
        if found is None:
            raise self._error(section.line, "expected `schedule fixed N`")
        draft.batch_rows = int(found.group(1))

    def oracle(self, draft: _Draft, section: _Section) -> None:
        found = re.fullmatch(r"none: (.+)", section.head)
        if found is None:
            raise self._error(section.line, "expected `oracle none: reason`")
        draft.no_batch_answer = found.group(1)

    def _table(self, body: tuple[str, ...], section: _Section) -> Table:
        first = section.last_line - len(body) + 1
        columns: tuple[str, ...] = ()
        rows, numbers = [], []
        for number, line in enumerate(body, first):
            cells = self._cells(number, line)
            if not cells:
                continue
            if not columns:
                columns = tuple(cell.text for cell in cells)
            elif len(cells) != len(columns):
                raise self._error(number, f"{len(cells)} cells in a table of {len(columns)} columns")
            else:
                rows.append(tuple(cells))
                numbers.append(number)
        return Table(columns, tuple(rows), tuple(numbers))

    def _cells(self, number: int, line: str) -> tuple[Cell, ...]:
        try:
            return tuple(split(line))
        except CellError as error:
            raise self._error(number, error.message, None, error.column) from error

    def _error(self, line: int, message: str, hint: str | None = None, column: int = 1) -> SqlError:
        text = self._lines[line - 1] if 0 < line <= len(self._lines) else ""
        return SqlError(message, "E1001", hint, Position(str(self._path), max(line, 1), column, text))


_ALONE = ("with", "output", "dead letters")
_REPEATED = ("stream", "partition", "json", "csv")
_SECTIONS: Mapping[str, Callable[[_Reader, _Draft, _Section], None]] = {
    "stream": _Reader.stream,
    "partition": _Reader.partition,
    "json": _Reader.json,
    "csv": _Reader.csv,
    "with": _Reader.with_,
    "query": _Reader.query,
    "output": _Reader.output,
    "dead letters": _Reader.letters,
    "error": _Reader.error,
    "ledger": _Reader.ledger,
    "schedule": _Reader.schedule,
    "oracle": _Reader.oracle,
}


def _open_parentheses(text: str) -> bool:
    bare = re.sub(r"'[^']*'", "", text)
    return bare.count("(") > bare.count(")")
