"""Times in records: ISO 8601 text, numbers since 1970, or text after a pattern.

A format says which type the engine's reader takes the value as, how that becomes a TIMESTAMP (UTC, microseconds), and
when it cannot. Text is read as TIMESTAMPTZ or TIMETZ and never as TIMESTAMP, DATE or TIME, which would drop an offset
without a word.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlglot import exp

from ferrisstreams.duck.engine import Connection, DataError
from ferrisstreams.errors import ConfigError
from ferrisstreams.formats.expressions import call, number, text
from ferrisstreams.formats.settings import DecodeSettings

#: Microseconds beyond which the engine has no timestamp (about the year 290,000 on both sides).
_LIMIT_US = 9_200_000_000_000_000_000
#: Nearer to 1970 than this (the year 2106), a double is within a quarter of a microsecond of what was written.
_DOUBLE_US_MAX = (1 << 32) * 1_000_000
_ISO = "iso8601"
_EPOCH_UNITS_US = {"epoch_seconds": 1_000_000, "epoch_millis": 1_000}


@dataclass(frozen=True, slots=True)
class TimeFormat:
    """`name` is as written in the settings; `key` is the setting that gives it, for messages.

    `exact`: numbers come as text, with all their digits.
    """

    name: str
    key: str
    exact: bool = False

    def exactly(self) -> TimeFormat:
        """The format of numbers that come as text."""
        return replace(self, exact=True)

    @property
    def raw_type(self) -> str:
        """The type to read the value as."""
        match self.name:
            case "iso8601":
                return "TIMESTAMPTZ"
            case "epoch_micros":
                return "BIGINT"
            case "epoch_seconds" | "epoch_millis":
                return "DECIMAL(38,6)" if self.exact else "DOUBLE"
        return "VARCHAR"

    @property
    def described(self) -> str:
        """What a value must be, for messages."""
        match self.name:
            case "iso8601":
                return f"an ISO 8601 timestamp (set {self.key} to read numbers or other texts)"
            case "epoch_micros" | "epoch_seconds" | "epoch_millis":
                return f"a number of {self.name.removeprefix('epoch_')} since 1970 ({self.key} = '{self.name}')"
        return f"a timestamp of the form {self.name} ({self.key})"

    def value(self, raw: exp.Expr) -> exp.Expr:
        """The raw value as TIMESTAMP."""
        match self.name:
            case "iso8601":
                return _from_us(call("epoch_us", raw))
            case "epoch_micros":
                return _from_us(raw)
            case "epoch_seconds" | "epoch_millis":
                # Apart, because a double does not hold the microseconds of the year 9999.
                unit = number(_EPOCH_UNITS_US[self.name])
                whole = call("trunc", raw)
                part = exp.Mul(
                    this=exp.paren(exp.Sub(this=raw.copy(), expression=whole.copy())), expression=unit.copy()
                )
                us = exp.Mul(this=exp.cast(whole, "BIGINT"), expression=unit)
                return _from_us(exp.Add(this=us, expression=exp.cast(call("round", part), "BIGINT")))
        return _from_us(call("epoch_us", call("strptime", raw, text(self.name))))

    def doubt(self, raw: exp.Expr) -> exp.Expr | None:
        """True where a DOUBLE may be of another microsecond than what was written; None: it never is."""
        unit = _EPOCH_UNITS_US.get(self.name)
        if unit is None:
            return None
        us = exp.Mul(this=raw.copy(), expression=number(unit))
        off = call("abs", exp.Sub(this=us, expression=call("round", us.copy())))
        far = exp.GTE(this=call("abs", raw.copy()), expression=number(_DOUBLE_US_MAX // unit))
        return exp.or_(far, exp.GT(this=off, expression=exp.Literal.number("0.25")))

    def failure(self, raw: exp.Expr) -> exp.Expr:
        """True where the raw value has no timestamp."""
        match self.name:
            case "iso8601":
                return exp.not_(call("isfinite", raw))
            case "epoch_micros" | "epoch_seconds" | "epoch_millis":
                limit = _LIMIT_US // _EPOCH_UNITS_US.get(self.name, 1)
                return exp.not_(exp.Between(this=raw, low=number(-limit), high=number(limit)))
        unread = call("try_strptime", raw.copy(), text(self.name)).is_(exp.null())
        return exp.and_(exp.not_(raw.is_(exp.null())), unread)


def date_of(moment: exp.Expr) -> exp.Expr:
    """The DATE in UTC of a TIMESTAMPTZ."""
    return exp.cast(_from_us(call("epoch_us", moment)), "DATE")


def time_in_utc(value: exp.Expr, cast: type[exp.Cast] = exp.TryCast) -> exp.Cast:
    """The TIME in UTC of a text. The engine does not read the `Z` of a time without a date."""
    numbered = call("regexp_replace", value, text(r"\s*[zZ]\s*$"), text("+00"))
    read = cast(this=numbered, to=exp.DataType(this=exp.DType.TIMETZ))
    return cast(this=call("timezone", text("UTC"), read), to=exp.DataType(this=exp.DType.TIME))


def time_formats(settings: DecodeSettings, connection: Connection) -> tuple[TimeFormat, TimeFormat]:
    """The format of TIMESTAMP columns, and that of the event-time column.

    Raises ConfigError E3002 for a pattern that the engine does not know.
    """
    general, event = settings.timestamp_format, settings.event_time_format
    exact = settings.format == "csv"
    plain = _time_format(TimeFormat(_ISO if general is None else general, "timestamp.format", exact), connection)
    if event is not None:
        return plain, _time_format(TimeFormat(event, "event.time.format", exact), connection)
    return plain, TimeFormat(_ISO, "event.time.format", exact) if general is None else plain


def _time_format(result: TimeFormat, connection: Connection) -> TimeFormat:
    name, key = result.name, result.key
    if result.raw_type == "VARCHAR":
        try:
            connection.rows(exp.select(call("try_strptime", text(""), text(name))))
        except DataError as error:
            known = "iso8601, epoch_seconds, epoch_millis, epoch_micros or a strptime pattern such as %Y-%m-%d %H:%M:%S"
            raise ConfigError(
                f"{key} = '{name}' is not a time format: {error}", "E3002", f"known are {known}"
            ) from error
        if "%" not in name:
            raise ConfigError(
                f"{key} = '{name}' is not a time format",
                "E3002",
                "known are iso8601, epoch_seconds, epoch_millis, epoch_micros and strptime patterns such as %Y-%m-%d",
            )
    return result


def _from_us(value: exp.Expr) -> exp.Expr:
    return call("make_timestamp", value)
