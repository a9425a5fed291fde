"""Configuration files: YAML to flat properties, with `extends` and variables of the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import yaml

from ferrisstreams.config.values import Property
from ferrisstreams.errors import ConfigError, Position

_EXTENDS = "extends"
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::([-?]?)([^}]*))?\}")

_Scalar: TypeAlias = "str | bool | int | float"
_Tree: TypeAlias = "dict[str, _Scalar | _Tree]"


def read_properties(path: Path) -> dict[str, Property]:
    """The properties of a file under dotted names: `batch: {size: 5}` is `batch.size`.

    `extends: base.yaml` takes those of another file first, relative to this one. `${NAME}`, `${NAME:default}` and
    `${NAME:-default}` are variables of the environment. Raises ConfigError (E3002).
    """
    tree = _read(path, ())
    return {name: Property(value, origin=str(path)) for name, value in _flat(tree, "")}


def _read(path: Path, above: tuple[Path, ...]) -> _Tree:
    if path.resolve() in above:
        raise ConfigError(f"{path} extends itself", "E3002", "take one 'extends' out", Position(str(path), 1, 1))
    tree = _tree(_document(path), path, "")
    base = tree.pop(_EXTENDS, None)
    if base is None:
        return tree
    if not isinstance(base, str):
        raise ConfigError(f"{path}: 'extends' is the name of a file", "E3002", "write extends: base.yaml")
    return _merged(_read(path.parent / base, (*above, path.resolve())), tree)


def _document(path: Path) -> object:
    try:
        return yaml.safe_load(path.read_text("utf-8-sig"))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", "E3002", "paths are relative to the file that names it"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text", "E3002", "save it as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = Position(str(path), mark.line + 1, mark.column + 1) if mark is not None else None
        raise ConfigError(f"not valid YAML: {error.problem}", "E3002", "look at the indentation", place) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML", "E3002", "remove control characters") from error


def _tree(node: object, path: Path, name: str) -> _Tree:
    if node is None:
        return {}
    if not isinstance(node, dict):
        raise ConfigError(f"{path}: {name or 'the file'} is not a mapping", "E3002", "write key: value, line by line")
    found: _Tree = {}
    for key, value in node.items():
        inner = f"{name}.{key}" if name else str(key)
        match value:
            case dict():
                found[str(key)] = _tree(value, path, inner)
            case str():
                found[str(key)] = _substituted(value, path, inner)
            case bool() | int() | float():
                found[str(key)] = value
            case list():
                found[str(key)] = ",".join(str(item) for item in value)
            case None:
                raise ConfigError(f"{path}: {inner} has no value", "E3002", "give it one, or leave the key out")
            case _:
                raise ConfigError(f"{path}: {inner} must be a string, a number or a boolean", "E3002", "quote it")
    return found


def _substituted(text: str, path: Path, name: str) -> str:
    def value(match: re.Match[str]) -> str:
        variable, kind, default = match.groups()
        found = os.environ.get(variable)
        if found is not None:
            return found
        if default is None or kind == "?":
            raise ConfigError(
                f"{path}: {name} needs the variable {variable}, which is not set{': ' + default if default else ''}",
                "E3004",
                f"set {variable}, or write ${{{variable}:default}}",
            )
        return default

    return _VARIABLE.sub(value, text)


def _merged(base: Mapping[str, _Scalar | _Tree], own: Mapping[str, _Scalar | _Tree]) -> _Tree:
    """Both trees, the own values where both have one."""
    merged: _Tree = dict(base)
    for key, value in own.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _flat(tree: Mapping[str, _Scalar | _Tree], prefix: str) -> list[tuple[str, _Scalar]]:
    found: list[tuple[str, _Scalar]] = []
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            found += _flat(value, f"{name}.")
        else:
            found.append((name, value))
    return found
