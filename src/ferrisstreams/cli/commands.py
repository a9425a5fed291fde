"""Groups of commands whose help speaks of files and numbers, and has an example."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand

Function = TypeVar("Function", bound=Callable[..., Any])

#: What the library says of a value -> what we say.
_SAID = (
    (r"^Value error, ", ""),
    (r"^Input should be a valid integer, .*", "it must be a whole number"),
    (r"^Input should be a valid number, .*", "it must be a number"),
    (r"^Input should be greater than or equal to (.*)", r"it must be at least \1"),
)

#: What stands in a help for the sake of Python -> what is left of it.
_SHOWN = (
    (r"<list\[(.*)\]>", r"<\1>"),
    (r" <(?:str|int|float|path)>", ""),
    (r"; x>=\d+\]", "]"),
    (r"\s*\[(?:x>=\d+|required)\]", ""),
)


class PlainCommand(TyperCommand):
    """A command without types of Python in its help and its errors."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        for kind, title in (("argument", "Arguments"), ("option", "Options")):
            records = [p.get_help_record(ctx) for p in self.get_params(ctx) if p.param_type_name == kind]
            shown = [tuple(_replaced(text, _SHOWN) for text in record) for record in records if record is not None]
            if shown:
                with formatter.section(title):
                    formatter.write_dl(shown)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [re.sub(r"[{}]", "", piece) for piece in super().collect_usage_pieces(ctx)]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = _replaced(error.message, _SAID)
            raise


class Commands(typer.Typer):
    """A group of commands; `example` is one of them, without `ferris`."""

    def __init__(self, help: str, example: str, name: str | None = None) -> None:
        super().__init__(
            name=name,
            help=help,
            epilog=f"Example:  ferris {example}",
            no_args_is_help=True,
            add_completion=False,
            pretty_exceptions_enable=False,
            rich_markup_mode=None,
            context_settings={"help_option_names": ["--help", "-h"]},
        )

    def add(self, example: str, name: str | None = None) -> Callable[[Function], Function]:
        """Make a function a command."""
        return self.command(name, cls=PlainCommand, epilog=f"Example:  ferris {example}")


def _replaced(text: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in pairs:
        text = re.sub(pattern, replacement, text)
    return text
