"""From properties as written to typed settings, each with its origin. An unknown key is an error, never ignored."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ferrisstreams.config.formats import delimiter_of_path, format_of_path, refuse_of_other_format
from ferrisstreams.config.kinds import SettingValue
from ferrisstreams.config.registry import KEYS, Key, Scope, keys_of
from ferrisstreams.config.values import Property
from ferrisstreams.errors import ConfigError, placed_at

_SIDES = (Scope.SOURCE, Scope.SINK)


@dataclass(frozen=True, slots=True)
class Setting:
    """A typed value and the property that it was read from (None: the default)."""

    value: SettingValue
    property: Property | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Typed settings of a source, a sink or a job. A key that was not given has its default."""

    values: Mapping[str, Setting]

    def has(self, name: str) -> bool:
        """Whether there is such a key here: some belong to one connector alone."""
        return name in self.values

    def given(self, name: str) -> bool:
        """Whether the user gave this key."""
        return name in self.values and self.values[name].property is not None

    def property(self, name: str) -> Property | None:
        return self.values[name].property if name in self.values else None

    def optional_text(self, name: str) -> str | None:
        value = self.values[name].value
        assert value is None or isinstance(value, str)
        return value

    def text(self, name: str) -> str:
        value = self.values[name].value
        assert isinstance(value, str), name
        return value

    def flag(self, name: str) -> bool:
        value = self.values[name].value
        assert isinstance(value, bool), name
        return value

    def optional_integer(self, name: str) -> int | None:
        value = self.values[name].value
        assert value is None or isinstance(value, int)
        return value

    def integer(self, name: str) -> int:
        value = self.values[name].value
        assert isinstance(value, int), name
        return value

    def optional_number(self, name: str) -> float | None:
        value = self.values[name].value
        assert value is None or isinstance(value, int | float)
        return value

    def number(self, name: str) -> float:
        value = self.values[name].value
        assert isinstance(value, int | float), name
        return value

    def duration_ms(self, name: str) -> float:
        value = self.values[name].value
        assert isinstance(value, int | float), name
        return value

    def properties_below(self, prefix: str) -> dict[str, Property]:
        """The properties of all given keys that begin with `prefix`, by the rest of their names."""
        return {k[len(prefix) :]: s.property for k, s in self.values.items() if k.startswith(prefix) and s.property}

    def below(self, prefix: str) -> dict[str, str]:
        """The texts of all keys that begin with `prefix`, without it."""
        return {k[len(prefix) :]: str(s.value) for k, s in self.values.items() if k.startswith(prefix)}


def resolve(properties: Mapping[str, Property], scopes: tuple[Scope, ...], connector: str | None) -> Settings:
    """Type every property and add the defaults.

    `scopes` are those that may stand together here: a source alone, or a sink and its job. Keys of a job that exist for
    the source too are also accepted as `source.<key>`, those of failures as `sink.<key>`. Raises ConfigError (E3001,
    E3002).
    """
    known = {key.name: key for scope in scopes for key in keys_of(scope, connector)}
    values = {name: Setting(key.default) for name, key in known.items() if not name.endswith("*")}
    for written, prop in properties.items():
        key, name = _find(written, known, scopes, connector, prop)
        values[name] = Setting(parse_value(key, written, prop), prop)
    if "format" in values:
        _settle_format(values)
    return Settings(values)


def _settle_format(values: dict[str, Setting]) -> None:
    """Without a format a file's name tells it; settings of another format are refused. Raises ConfigError E3005."""
    path = values.get("path", Setting(None))
    if values["format"].property is None and path.property is not None:
        with placed_at(path.property.position):
            values["format"] = Setting(format_of_path(str(path.value)) or values["format"].value)
    if path.property is not None and values["delimiter"].property is None:
        values["delimiter"] = Setting(delimiter_of_path(str(path.value)) or values["delimiter"].value)
    given = {name: setting.property for name, setting in values.items() if setting.property is not None}
    refuse_of_other_format(str(values["format"].value), given)


def find_key(written: str, connector: str | None = None) -> Key | None:
    """The key of this name or alias, in any case; with `source.` or `sink.` before it where it may stand so."""
    name = written.lower()
    keys = [key for key in KEYS if connector is None or not key.connectors or connector in key.connectors]
    return next((key for key in keys if _is_called(key, name)), None)


def canonical_name(written: str, connector: str | None = None) -> str | None:
    """The one name that `fmt` writes for a key; None when there is no such key."""
    key = find_key(written, connector)
    if key is None:
        return None
    if key.name.endswith("*"):
        return _full_name(key, written)
    return written.lower() if is_per_side(key, written.lower()) else key.name


def _is_called(key: Key, name: str) -> bool:
    exact = name == key.name or name in key.aliases or is_per_side(key, name)
    return exact or rest_of(name, key) is not None


def is_per_side(key: Key, name: str) -> bool:
    """Whether this name, in lower case, is the key's with the prefix of a side: then it is a key of the job."""
    return (key.per_side and name == f"source.{key.name}") or (key.of_sink and name == f"sink.{key.name}")


def parse_value(key: Key, written: str, prop: Property) -> SettingValue:
    """The typed value of one property. Raises ConfigError E3002."""
    try:
        return key.kind.parse(prop.value)
    except ValueError as error:
        raise ConfigError(
            f"{prop.lead}'{written}' = '{prop.value}' does not fit: {error}", "E3002", key.sentence, prop.position
        ) from None


def _find(
    written: str, known: Mapping[str, Key], scopes: tuple[Scope, ...], connector: str | None, prop: Property
) -> tuple[Key, str]:
    name = written.lower()
    for key in known.values():
        if is_per_side(key, name):
            if Scope.JOB in scopes:
                return key, name
        elif _is_called(key, name):
            return key, _full_name(key, written)
    raise _unknown(written, known, connector, prop)


def rest_of(written: str, key: Key) -> str | None:
    """What stands for the `*` of a key's name, or of one of its aliases; None when the name is another."""
    for pattern in (key.name, *key.aliases):
        if pattern.endswith("*") and written.lower().startswith(pattern[:-1]) and len(written) >= len(pattern):
            return written[len(pattern) - 1 :]
    return None


def _full_name(key: Key, written: str) -> str:
    rest = rest_of(written, key)
    return key.name if rest is None else key.name[:-1] + rest


def _unknown(written: str, known: Mapping[str, Key], connector: str | None, prop: Property) -> ConfigError:
    name = written.lower()
    elsewhere = [key for key in KEYS if _is_called(key, name)]
    close = difflib.get_close_matches(name, known, n=1)
    if elsewhere:
        owner = " and ".join(elsewhere[0].connectors) or " and ".join(s.value for s in elsewhere[0].scopes)
        hint = f"'{name}' is a key of {owner}"
    elif close:
        hint = f"did you mean '{close[0]}'?"
    else:
        hint = "the keys are listed in docs/configuration.md"
    where = f" for connector '{connector}'" if connector else ""
    return ConfigError(f"{prop.lead}unknown setting '{written}'{where}", "E3001", hint, prop.position)


def all_names() -> Iterator[str]:
    """Names of all keys, for the reference page and for completion."""
    return (key.name for key in KEYS)
