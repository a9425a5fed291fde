"""The words of a command as a dataclass: each field says how it is written, and its type what may stand there."""

from __future__ import annotations

import argparse
import types
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, fields
from enum import Enum
from typing import Annotated, Any, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from ferrisstreams.cli.arguments import Argument
from ferrisstreams.cli.usage import UsageError

Arguments = TypeVar("Arguments")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message.removeprefix("argument "))


def parse(kind: type[Arguments], words: Sequence[str], path: str, help_text: str, example: str) -> Arguments:
    """Raises UsageError; ends the process for --help."""
    hints = get_type_hints(kind, include_extras=True)
    parser = _Parser(
        prog=path,
        description=help_text,
        epilog=example,
        allow_abbrev=False,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=28, width=100),
    )
    parser.usage = " ".join([path, "[OPTIONS]"])
    for field in fields(kind):  # type: ignore[arg-type]
        _add(parser, field, hints[field.name])
    return kind(**vars(parser.parse_intermixed_args(list(words))))


def _add(parser: _Parser, field: Field[Any], hint: Any) -> None:
    assert get_origin(hint) is Annotated, f"{field.name} does not say how it is written"
    written, argument = get_args(hint)
    assert isinstance(argument, Argument)
    default = None if field.default is MISSING else field.default
    kind, repeated = _plain(written)
    shown = argparse.SUPPRESS if argument.hidden else _help(argument, default)
    if kind is bool:
        parser.add_argument(*argument.names, dest=field.name, action="store_true", help=shown)
        return
    options: dict[str, Any] = {"default": default, "type": _converter(kind, argument), "help": shown}
    options["metavar"] = "|".join(member.value for member in kind) if issubclass(kind, Enum) else argument.metavar
    if argument.names:
        options |= {"dest": field.name} | ({"action": "append"} if repeated else {})
        parser.add_argument(*argument.names, **options)
        return
    optional = field.default is not MISSING
    parser.usage = f"{parser.usage} {f'[{argument.metavar}]' if optional else argument.metavar}{' …' * repeated}"
    nargs = "+" if repeated else "?" if optional else None
    parser.add_argument(field.name, nargs=nargs, **options)


def _plain(written: Any) -> tuple[Any, bool]:
    """The type of one value, and whether there can be several."""
    if get_origin(written) in (Union, types.UnionType):
        (written,) = (part for part in get_args(written) if part is not type(None))
    if get_origin(written) is list:
        return get_args(written)[0], True
    return written, False


def _help(argument: Argument, default: object) -> str:
    shown = default.value if isinstance(default, Enum) else default
    return argument.help + (f" [default: {shown}]" if shown not in (None, False) else "")


def _converter(kind: Any, argument: Argument) -> Callable[[str], object]:
    def convert(text: str) -> object:
        if issubclass(kind, Enum) and text not in [member.value for member in kind]:
            raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(member.value for member in kind)}")
        if kind is int and not text.removeprefix("-").isdecimal():
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
        value: object = kind(text)
        if isinstance(value, int) and argument.at_least is not None and value < argument.at_least:
            raise argparse.ArgumentTypeError(f"{value} is less than {argument.at_least}")
        return value

    return convert
