"""Which letters are meant: by identity, code, stage, state, time, text, or an expression over their columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError

from ferrisstreams.duck.engine import BindError, DataError, Engine, EngineSettings, arrow_table, first_line
from ferrisstreams.errors import ConfigError
from ferrisstreams.session.dlq_letters import Letter, LetterState, chunked

#: Letters, and bytes of them, that the engine judges in one statement.
_CHUNK_LETTERS = 1000
_CHUNK_BYTES = 8 * 1024 * 1024

#: What an expression may name, in the order in which `_cells` gives the values.
COLUMNS = (
    ("id", "string"),
    ("state", "string"),
    ("code", "string"),
    ("stage", "string"),
    ("kind", "string"),
    ("message", "string"),
    ("expression", "string"),
    ("position", "string"),
    ("partition", "string"),
    ("record_offset", "int64"),
    ("attempts", "int64"),
    ("replays", "int64"),
    ("first_failed_at", "string"),
    ("last_failed_at", "string"),
    ("key", "string"),
    ("value", "string"),
)

_TIMES = ("first_failed_at", "last_failed_at")


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Each part that is given must hold; of several identities, codes, stages or states one must.

    Times are microseconds since 1970 and mean the last failure: `since_us` included, `until_us` not. `text` is looked
    for in value and message. `where` is an SQL condition over `COLUMNS`.
    """

    ids: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    states: tuple[LetterState, ...] = ()
    since_us: int | None = None
    until_us: int | None = None
    text: str | None = None
    where: str | None = None

    def select(self, letters: Iterable[Letter]) -> Iterator[Letter]:
        """The letters that are meant, in their order. Raises ConfigError E3002 where `where` cannot be used."""
        found = filter(self._plainly_matches, letters)
        return found if self.where is None else _where(self.where, found)

    def _plainly_matches(self, letter: Letter) -> bool:
        return (
            (not self.ids or letter.id in self.ids)
            and (not self.codes or letter.code in self.codes)
            and (not self.stages or letter.stage in self.stages)
            and (not self.states or letter.state in self.states)
            and (self.since_us is None or letter.last_failed_us >= self.since_us)
            and (self.until_us is None or letter.last_failed_us < self.until_us)
            and (self.text is None or self.text in letter.text or self.text in _message(letter))
        )


def _where(condition: str, letters: Iterator[Letter]) -> Iterator[Letter]:
    try:
        tree = sqlglot.parse_one(condition, read="duckdb", into=exp.Condition)
    except ParseError as error:
        raise _unusable(condition, first_line(error)) from error
    if tree.find(exp.Query):
        raise _unusable(condition, "it holds a subquery")
    engine = Engine(EngineSettings())
    try:
        for chunk in chunked(letters, _CHUNK_LETTERS, _CHUNK_BYTES):
            yield from _judge(engine, tree, condition, chunk)
    finally:
        engine.close()


def _judge(engine: Engine, tree: exp.Condition, condition: str, letters: Sequence[Letter]) -> Iterator[Letter]:
    rows = [_cells(letter) for letter in letters]
    columns = {name: (kind, [row[at] for row in rows]) for at, (name, kind) in enumerate(COLUMNS)}
    engine.work.register("given", arrow_table(columns))
    stars = exp.Star(replace=[exp.alias_(exp.cast(exp.column(name), "TIMESTAMP"), name) for name in _TIMES])
    typed = exp.select(stars).from_("given").subquery("letters")
    try:
        found = engine.work.rows(exp.select("id").from_(typed).where(tree.copy()))
    except (BindError, DataError) as error:
        raise _unusable(condition, first_line(error)) from error
    meant = {row[0] for row in found}
    return (letter for letter in letters if letter.id in meant)


def _unusable(condition: str, reason: str) -> ConfigError:
    names = ", ".join(name for name, _ in COLUMNS)
    return ConfigError(
        f"the condition {condition!r} cannot be used: {reason}", "E3002", f"a condition in SQL over the columns {names}"
    )


def _cells(letter: Letter) -> tuple[object, ...]:
    offset = letter.header("__connect.errors.offset")
    return (
        letter.id,
        letter.state.value,
        letter.code,
        letter.stage,
        letter.kind,
        _message(letter),
        letter.header("ferris.expression"),
        letter.header("ferris.position"),
        letter.header("__connect.errors.topic"),
        int(offset) if offset else None,
        int(letter.header("ferris.attempts") or 1),
        letter.replays,
        letter.header("ferris.first_failed_at").removesuffix("Z"),
        letter.header("ferris.last_failed_at").removesuffix("Z"),
        letter.key.decode("utf-8", "backslashreplace") if letter.key is not None else None,
        letter.text,
    )


def _message(letter: Letter) -> str:
    return letter.header("__connect.errors.exception.message")
