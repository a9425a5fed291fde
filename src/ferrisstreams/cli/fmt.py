"""`ferris fmt`: files in their canonical form, written, checked, or shown as a difference."""

from __future__ import annotations

import sys
from difflib import unified_diff
from pathlib import Path

import typer

from ferrisstreams.cli.application import STANDARD_INPUT, read_text
from ferrisstreams.cli.arguments import FmtArguments
from ferrisstreams.cli.failure import report
from ferrisstreams.durable_file import replace_text
from ferrisstreams.errors import FerrisError, InternalError


def fmt(arguments: FmtArguments) -> int:
    """The exit code: 0 done, 1 a text is wrong, or `--check` or `--diff` found one that is not formatted."""
    changed = wrong = 0
    files = _files(arguments.files)
    for file in files:
        try:
            changed += _format(file, arguments)
        except InternalError:
            raise
        except FerrisError as error:
            wrong += 1
            report(error)
    if files != [STANDARD_INPUT]:
        _summarise(len(files), changed, wrong, arguments.check or arguments.diff)
    return 1 if wrong or (changed and (arguments.check or arguments.diff)) else 0


def _files(given: list[str]) -> list[str]:
    """Every file once; of a folder all that end in `.sql`, also in folders within."""
    found: list[str] = []
    for name in given:
        path = Path(name)
        found += [str(file) for file in sorted(path.rglob("*.sql"))] if path.is_dir() else [name]
    if not found:
        raise typer.BadParameter("there is no .sql file", param_hint="FILE")
    return list(dict.fromkeys(found))


def _format(file: str, arguments: FmtArguments) -> bool:
    """Whether the text was not formatted. Raises SqlError."""
    from ferrisstreams.sql.formatter import format_text

    text = read_text(file)
    name = "stdin" if file == STANDARD_INPUT else file
    formatted = format_text(text, name)
    changed = formatted != text
    if arguments.diff:
        lines = unified_diff(text.splitlines(), formatted.splitlines(), name, f"{name} (formatted)", lineterm="")
        sys.stdout.writelines(f"{line}\n" for line in lines)
    elif arguments.check:
        if changed:
            print(f"would change {name}")
    elif file == STANDARD_INPUT:
        sys.stdout.write(formatted)
    elif changed:
        _write(Path(file), formatted)
        print(f"changed {name}")
    return changed


def _write(path: Path, text: str) -> None:
    """Replace the file as a whole: a reader sees the old text or the new one. What a link names is replaced."""
    try:
        replace_text(path.resolve(), text)
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be written: {error.strerror}", param_hint="FILE") from None


def _summarise(files: int, changed: int, wrong: int, only_shown: bool) -> None:
    parts = [
        f"{changed} {'would change' if only_shown else 'changed'}",
        f"{files - changed - wrong} already formatted",
        *([f"{wrong} wrong"] if wrong else []),
    ]
    sys.stderr.write(", ".join(parts) + "\n")
