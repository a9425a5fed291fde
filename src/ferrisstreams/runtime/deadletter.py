"""Dead letters: rows that failed, with their original bytes and where they came from.

In a file a letter is a line of JSON, in a topic a message with the original key, value and headers and our headers.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ferrisstreams.batch import JsonValue, Payload, Rejected
from ferrisstreams.connectors.base import Sink
from ferrisstreams.connectors.connector import Connector
from ferrisstreams.errors import CODES, FatalConnectorError, FerrisError
from ferrisstreams.runtime.letter_mark import LetterMark
from ferrisstreams.runtime.watched import Watch, watched


@dataclass(frozen=True, slots=True)
class LetterContext:
    """What every letter of a job says: the job, and the connector of each source, by name (empty: the only one)."""

    job: str
    version: str
    connectors: Mapping[str, Connector]

    def connector_of(self, row: Rejected) -> Connector:
        """That of the row's source; of an output row, the first."""
        return self.connectors.get(row.source) or next(iter(self.connectors.values()))


class DeadLetters:
    """Letters of a job, written through a sink with marks so that each is there once.

    A mark has `moved` when letters of the job are in another place, too: under other settings they went there before.
    """

    def __init__(
        self, sink: Sink, context: LetterContext, final: LetterMark | None = None, form: LetterForm | None = None
    ) -> None:
        self._sink: Sink = sink
        self._context = context
        self._final = final
        self._form = form or as_lines
        self._is_new = False
        self._has_moved = False

    def watch(self, watch: Watch) -> None:
        """From now on calls of the sink are watched."""
        self._sink = watched(self._sink, watch)

    def check(self) -> None:
        """Of a new job: whether there is a place for letters."""
        self._sink.check()

    def open(self, mark: JsonValue) -> None:
        """Go on behind `mark`; the letters may have another place than when it was set, which begins empty."""
        has_moved = self._is_of_another_place(mark)
        self._has_moved = has_moved or (isinstance(mark, dict) and bool(mark.get("moved")))
        if has_moved:
            mark = None
        self._sink.open(mark)
        self._is_new = mark is None
        if self._final is not None and mark is None:
            self._final.reset()
        self._publish(mark)

    def write(self, rejected: Sequence[Rejected], now_us: int) -> None:
        """Append these rows as letters; few of them are text in memory at a time."""
        for start in range(0, len(rejected), _LETTERS_AT_ONCE):
            rows = rejected[start : start + _LETTERS_AT_ONCE]
            refused = self._sink.write(self._form(rows, self._context, now_us))
            if refused:
                raise FatalConnectorError(
                    f"a dead letter is not taken: {refused[0].message}",
                    "E4106",
                    "let the topic of dead letters take larger messages (max.message.bytes)",
                )

    def flush(self) -> JsonValue:
        mark = self._sink.flush()
        if self._final is not None:
            mark = self._final.placed(mark)
        return {**mark, "moved": True} if self._has_moved and isinstance(mark, dict) else mark

    def confirm(self, mark: JsonValue) -> None:
        """The letters up to this mark are final."""
        self._sink.confirm(mark)
        self._publish(mark)

    def rollback(self, mark: JsonValue) -> None:
        self._sink.rollback(mark)

    def close(self) -> None:
        self._sink.close()

    def discard(self) -> None:
        """Of a new job of which nothing became final: as if there had been no letters."""
        self._sink.discard()
        if self._final is not None and self._is_new:
            self._final.reset()

    def _is_of_another_place(self, mark: JsonValue) -> bool:
        if self._final is not None:
            return not self._final.covers(mark)
        return isinstance(mark, dict) and "file" in mark

    def _publish(self, mark: JsonValue) -> None:
        if self._final is not None and mark is not None:
            self._final.write(mark)


#: How letters become a payload: rows, context and the time now in microseconds.
LetterForm = Callable[[Sequence[Rejected], LetterContext, int], Payload]


def as_lines(rows: Sequence[Rejected], context: LetterContext, now_us: int) -> Payload:
    """Letters as JSON lines, for files."""
    lines = [json.dumps(letter(row, context, now_us), ensure_ascii=False) for row in rows]
    return Payload(("\n".join(lines) + "\n").encode(), len(lines))


def as_messages(rows: Sequence[Rejected], context: LetterContext, now_us: int) -> Payload:
    """Letters as messages: key, value and headers byte for byte, and behind them our headers."""
    return Payload(
        b"",
        len(rows),
        values=[row.value for row in rows],
        keys=[row.key for row in rows],
        headers=[
            (*row.headers, *((name, value.encode()) for name, value in letter_headers(row, context, now_us).items()))
            for row in rows
        ],
    )


def letter(row: Rejected, context: LetterContext, now_us: int) -> dict[str, JsonValue]:
    """A dead letter as JSON: key and value in base64, and headers whose names other tools read too."""
    headers: dict[str, JsonValue] = {**letter_headers(row, context, now_us)}
    own: list[JsonValue] = [[name, _base64(value)] for name, value in row.headers]
    found: dict[str, JsonValue] = {"key": _base64(row.key), "value": _base64(row.value), "headers": headers}
    return found | ({"record_headers": own} if own else {})


def letter_headers(row: Rejected, context: LetterContext, now_us: int) -> dict[str, str]:
    """What a letter says of its row."""
    topic, partition = row.partition, "0"
    connector = context.connector_of(row)
    if connector.messages and row.partition:
        topic, _, partition = row.partition.rpartition("-")
    headers = {
        "__connect.errors.topic": topic,
        "__connect.errors.partition": partition,
        "__connect.errors.offset": str(row.offset),
        "__connect.errors.connector.name": connector.name,
        "__connect.errors.stage": row.stage,
        "__connect.errors.exception.class.name": f"ferrisstreams.{row.code}",
        "__connect.errors.exception.message": row.message,
        "ferris.job": context.job,
        "ferris.job.version": context.version,
        "ferris.stage": row.stage,
        "ferris.code": row.code,
        "ferris.expression": row.expression,
        "ferris.position": row.position,
        "ferris.attempts": str(row.attempts),
        "ferris.first_failed_at": _time(now_us if row.first_failed_us is None else row.first_failed_us),
        "ferris.last_failed_at": _time(now_us),
        "ferris.kind": _kind(row),
    }
    if row.source:
        headers["ferris.source"] = row.source
    if row.truncated:
        headers["ferris.value.truncated"] = "true"
    if row.timestamp_ms is not None:
        headers["ferris.record.timestamp"] = _time(row.timestamp_ms * 1000)
    return headers


def _kind(row: Rejected) -> str:
    if row.stage == "derive":
        return "derived"
    return "output" if row.row < 0 and row.offset < 0 else "input"


def _base64(value: bytes | None) -> str | None:
    return base64.b64encode(value).decode() if value is not None else None


def _time(time_us: int) -> str:
    at = datetime.fromtimestamp(time_us / 1_000_000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def failing_ordinals(rejected: Sequence[Rejected]) -> list[int]:
    """Which rows of a fetch failed, counted from 0; records that were too large to load count as its first rows."""
    unloaded = sum(row.row < 0 for row in rejected)
    return [*range(unloaded), *(row.row + unloaded for row in rejected if row.row >= 0)]


class ConsecutiveLimit:
    """Fails the job when too many rows at a stretch, or too large a part of them, become dead letters."""

    def __init__(self, consecutive_max: int, ratio_max: float | None) -> None:
        self._max = consecutive_max
        self._ratio = ratio_max
        self._run = 0

    def observe(self, failed_rows: Sequence[int], rows: int, ledger_read: int, dead_lettered: int) -> None:
        """A batch of `rows` rows had these failing ordinals (ascending). Raises FerrisError E6002 or E6003."""
        failing = set(failed_rows)
        for row in sorted(failing):
            self._run = self._run + 1 if row == 0 or row - 1 in failing else 1
            if self._run >= self._max:
                raise FerrisError(
                    f"{self._run} rows in a row have failed: {CODES['E6003']}",
                    "E6003",
                    "look at the first dead letters: the source's columns or format may be wrong;"
                    " dlq.max_consecutive sets the limit",
                )
        if rows and rows - 1 not in failing:
            self._run = 0
        # The ratio of a handful of rows says nothing.
        if self._ratio is not None and ledger_read >= _RATIO_ROWS_MIN and dead_lettered > self._ratio * ledger_read:
            raise FerrisError(
                f"{dead_lettered} of {ledger_read} rows have failed, more than dlq.max_ratio = {self._ratio:g}",
                "E6002",
                "look at the first dead letters, or raise dlq.max_ratio",
            )


#: Letters that are text in memory at the same time: their values may be large.
_LETTERS_AT_ONCE = 256

#: Rows read before the ratio of dead letters is judged.
_RATIO_ROWS_MIN = 100
