"""Windows: every spelling becomes one `plan.nodes.Window`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlglot import exp

from ferrisstreams.batch import integer
from ferrisstreams.errors import InternalError, SqlError
from ferrisstreams.plan.nodes import Window, WindowKind
from ferrisstreams.sql.context import Context
from ferrisstreams.sql.durations import duration_of, is_length, written_interval
from ferrisstreams.sql.syntax import StreamWindow, WindowBound

_KINDS = {
    "TUMBLE": WindowKind.TUMBLE, "TUMBLING": WindowKind.TUMBLE,
    "HOP": WindowKind.HOP, "HOPPING": WindowKind.HOP, "SLIDING": WindowKind.HOP,
    "SESSION": WindowKind.SESSION,
    "CUMULATE": WindowKind.CUMULATE, "CUMULATING": WindowKind.CUMULATE,
}  # fmt: skip

_USAGE = {
    "TUMBLE": "write TUMBLE(ts, INTERVAL '1' MINUTE)",
    "HOP": "write HOP(ts, slide, size), such as HOP(ts, INTERVAL '1' MINUTE, INTERVAL '5' MINUTE)",
    "SESSION": "write SESSION(ts, INTERVAL '30' SECOND)",
    "CUMULATE": "write CUMULATE(ts, step, size), such as CUMULATE(ts, INTERVAL '10' MINUTE, INTERVAL '1' DAY)",
    "CUMULATING": "write WINDOW CUMULATING(size, step), such as WINDOW CUMULATING(1d, 10m)",
    "TUMBLING": "write WINDOW TUMBLING(1m) or WINDOW TUMBLING (SIZE 1 MINUTE)",
    "HOPPING": "write WINDOW HOPPING(size, slide) or WINDOW HOPPING (SIZE 5 MINUTES, ADVANCE BY 1 MINUTE)",
    "SLIDING": "write WINDOW SLIDING(size, slide), such as WINDOW SLIDING(5m, 1m)",
}

_ARGUMENT_NAMES = {"TUMBLING": ("SIZE",), "HOPPING": ("SIZE", "ADVANCE BY")}

#: A row is copied into each of its windows; more than this is surely a slip of units.
_WINDOWS_OF_A_ROW_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Grace:
    length_us: int
    node: exp.Expression


@dataclass(frozen=True, slots=True)
class WrittenWindow:
    """A window as written: `time` is its column when there is one, `key` the third argument of SESSION, `grace` its
    GRACE PERIOD, which is the allowed lateness."""

    kind: WindowKind
    size_us: int
    slide_us: int
    origin_us: int
    time: exp.Expression | None
    key: exp.Expression | None
    node: exp.Expression
    grace: Grace | None = None

    def timed_by(self, time: str) -> Window:
        return Window(self.kind, time, self.size_us, self.slide_us, self.origin_us)

    def same_as(self, other: WrittenWindow) -> bool:
        return (self.kind, self.size_us, self.slide_us) == (other.kind, other.size_us, other.slide_us)


def read_window(context: Context, node: StreamWindow) -> WrittenWindow:
    """The window of a GROUP BY function or of a WINDOW clause. Raises `SqlError`."""
    spelling = str(node.this)
    reader = _Reader(context, spelling, node)
    named = [item for item in node.args.get("named") or [] if str(item.this) != "GRACE PERIOD"]
    grace = [item for item in node.args.get("named") or [] if str(item.this) == "GRACE PERIOD"]
    window = reader.read(list(node.expressions), named, bool(node.args.get("clause")))
    return replace(window, grace=reader.grace(grace)) if grace else window


def read_bound(context: Context, node: WindowBound, window: WrittenWindow | None) -> str:
    """`start` or `end`, for `TUMBLE_START(…)` and its like, which must speak of the query's window."""
    spelling, _, edge = str(node.this).rpartition("_")
    if window is None:
        raise context.error(node, f"{node.this} needs a window in GROUP BY", "E1102", f"add {spelling}(…) to GROUP BY")
    arguments = list(node.expressions)
    same = _KINDS[spelling] is window.kind
    if same and any(is_length(argument) for argument in arguments):
        same = _Reader(context, spelling, node).read(arguments, [], False).same_as(window)
    if not same:
        raise context.error(
            node, f"{node.this} speaks of another window than GROUP BY", "E1102", f"write window_{edge.lower()}"
        )
    return edge.lower()


@dataclass(frozen=True, slots=True)
class _Reader:
    context: Context
    spelling: str
    node: exp.Expression

    def read(self, arguments: list[exp.Expression], named: list[exp.Expression], clause: bool) -> WrittenWindow:
        time = None
        if arguments and not is_length(arguments[0]):
            time = arguments.pop(0)
        kind = _KINDS[self.spelling]
        by_name = self._named(named)
        match kind:
            case WindowKind.TUMBLE:
                lengths = [by_name["SIZE"]] if "SIZE" in by_name else self._lengths(arguments, 1)
                origin_us = self._origin(arguments) % lengths[0]
                return WrittenWindow(kind, lengths[0], lengths[0], origin_us, time, None, self.node)
            case WindowKind.HOP:
                size_us, slide_us = self._hop_lengths(arguments, by_name, clause)
                origin_us = self._origin(arguments) % slide_us
                return WrittenWindow(kind, size_us, slide_us, origin_us, time, None, self.node)
            case WindowKind.CUMULATE:
                size_us, step_us = self._cumulate_lengths(arguments, clause)
                origin_us = self._origin(arguments) % size_us
                return WrittenWindow(kind, size_us, step_us, origin_us, time, None, self.node)
            case WindowKind.SESSION:
                lengths = self._lengths(arguments, 1)
                key = arguments.pop(0) if arguments else None
                self._no_more(arguments)
                return WrittenWindow(kind, lengths[0], lengths[0], 0, time, key, self.node)
            case WindowKind.GIVEN:
                raise InternalError("a window of results is not written")

    def _hop_lengths(self, arguments: list[exp.Expression], by_name: dict[str, int], clause: bool) -> tuple[int, int]:
        """Size and slide. As a function the slide stands first, in the clause the size."""
        if by_name:
            if set(by_name) != {"SIZE", "ADVANCE BY"}:
                raise self._misused("HOPPING needs SIZE and ADVANCE BY")
            size, slide = by_name["SIZE"], by_name["ADVANCE BY"]
        else:
            first, second = self._lengths(arguments, 2)
            size, slide = (first, second) if clause else (second, first)
        if slide > size:
            raise self._misused("the slide is longer than the window: rows would fall between windows")
        if size // slide > _WINDOWS_OF_A_ROW_MAX:
            raise self._error(f"each row would be in {size // slide} windows", "E1207", "choose a longer slide")
        return size, slide

    def _cumulate_lengths(self, arguments: list[exp.Expression], clause: bool) -> tuple[int, int]:
        """Size and step. As a function the step stands first, in the clause the size."""
        if len(arguments) < 2:
            raise self._misused(f"{self.spelling} needs a size and a step")
        first, second = self._lengths(arguments, 2)
        size, step = (first, second) if clause else (second, first)
        if size % step:
            raise self._misused("the size of a cumulating window is a multiple of its step")
        if size // step > _WINDOWS_OF_A_ROW_MAX:
            raise self._error(f"a row could be in {size // step} windows", "E1207", "choose a longer step")
        return size, step

    def grace(self, written: list[exp.Expression]) -> Grace:
        """The one GRACE PERIOD. Zero is one."""
        if len(written) > 1:
            raise self.context.error(written[1], "GRACE PERIOD is given twice", "E1103", "keep one of them")
        length = duration_of(written[0].expression)
        if length is None or length < 0:
            raise self.context.error(
                written[0], "GRACE PERIOD is a length of fixed size", "E1102", "write GRACE PERIOD 10 SECONDS"
            )
        return Grace(length, written[0])

    def _named(self, named: list[exp.Expression]) -> dict[str, int]:
        found: dict[str, int] = {}
        for item in named:
            name = str(item.this)
            if name == "RETENTION":
                hint = "leave it out: state is kept until the window closes"
                raise self.context.error(item, f"{name} is not supported", "E1204", hint)
            allowed = _ARGUMENT_NAMES.get(self.spelling, ())
            if name not in allowed or name in found:
                raise self.context.error(item, f"{name} does not belong here", "E1102", _USAGE.get(self.spelling))
            found[name] = self._length(item.expression)
        return found

    def _lengths(self, arguments: list[exp.Expression], number: int) -> list[int]:
        if len(arguments) < number:
            raise self._misused(f"{self.spelling} needs {'its length' if number == 1 else 'a size and a slide'}")
        return [self._length(arguments.pop(0)) for _ in range(number)]

    def _length(self, node: exp.Expression) -> int:
        hint = "write a number and a unit from microseconds to weeks, such as INTERVAL '5' MINUTE, '5 minutes' or 5m"
        try:
            written = written_interval(node)
        except ValueError as error:
            raise self.context.error(node, str(error), "E1102", hint) from error
        length = written.length_us if written is not None else None
        if length is None:
            what = f"{node.sql('duckdb')} is not a length of fixed size"
            raise self.context.error(node, what, "E1102", hint)
        if length <= 0:
            raise self.context.error(node, "a window needs a length above zero", "E1102", _USAGE.get(self.spelling))
        return length

    def _origin(self, arguments: list[exp.Expression]) -> int:
        if not arguments:
            return 0
        origin = arguments.pop(0)
        self._no_more(arguments)
        offset = duration_of(origin)
        if offset is not None:
            return offset
        literal = origin.this if isinstance(origin, exp.Cast) else origin
        if not isinstance(literal, exp.Literal) or not literal.is_string:
            raise self.context.error(
                origin,
                "an origin is a timestamp literal or an interval",
                "E1102",
                "write TIMESTAMP '2024-01-01 00:00:00'",
            )
        rows = self.context.connection.rows("SELECT epoch_us(TRY_CAST($text AS TIMESTAMPTZ))", {"text": literal.name})
        if rows[0][0] is None:
            raise self.context.error(origin, f"{literal.name!r} is not a timestamp", "E1102")
        return integer(rows[0][0])

    def _no_more(self, arguments: list[exp.Expression]) -> None:
        if arguments:
            raise self.context.error(
                arguments[0], f"{self.spelling} has too many arguments", "E1102", _USAGE.get(self.spelling)
            )

    def _misused(self, message: str) -> SqlError:
        return self._error(message, "E1102", _USAGE.get(self.spelling))

    def _error(self, message: str, code: str, hint: str | None = None) -> SqlError:
        return self.context.error(self.node, message, code, hint)
