"""How dead letters, and what was done with them, are shown: as tables, one JSON object, or CSV."""

from __future__ import annotations

import base64
import csv
import json
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict

from ferrisstreams.cli.dlq_arguments import LetterOutput
from ferrisstreams.cli.streams import terminal_columns
from ferrisstreams.session.dlq import PurgeReport, ReplayReport
from ferrisstreams.session.dlq_letters import Letter

JobLetter = tuple[str, Letter]

_FIELDS = ("job", "id", "state", "code", "stage", "position", "replays", "last_failed_at", "message")

#: Columns where no terminal sets a limit.
_WIDTH_OF_A_FILE = 1000

#: Columns that a message has at least beside the others.
_MESSAGE_COLUMNS = 40

#: Characters of a record that are shown to people; all of it is in JSON.
_VALUE_SHOWN = 2000


def print_letters(letters: Sequence[JobLetter], total: int, form: LetterOutput) -> None:
    """One line a letter. `total` counts those that are not shown too."""
    match form:
        case LetterOutput.JSON:
            print(json.dumps({"letters": [_fields(job, letter) for job, letter in letters], "total": total}))
        case LetterOutput.CSV:
            _print_csv(_FIELDS, [[str(v) for v in _fields(job, letter).values()] for job, letter in letters])
        case _:
            _print_table(letters, total)


def print_whole(letters: Sequence[JobLetter], total: int, form: LetterOutput) -> None:
    """Everything about each letter. JSON and CSV have key and value in base64."""
    match form:
        case LetterOutput.JSON:
            print(json.dumps({"letters": [_whole(job, letter) for job, letter in letters], "total": total}))
        case LetterOutput.CSV:
            rows = [
                [job, letter.id, name, text]
                for job, letter in letters
                for name, text in (*letter.headers.items(), ("value", _base64(letter.value)))
            ]
            _print_csv(("job", "id", "header", "value"), rows)
        case _:
            for job, letter in letters:
                _print_whole(job, letter)
            _tell_rest(len(letters), total)


def print_replayed(reports: Sequence[ReplayReport], form: LetterOutput) -> None:
    match form:
        case LetterOutput.JSON:
            print(json.dumps({"jobs": [asdict(report) for report in reports]}))
        case LetterOutput.CSV:
            rows: list[list[str | None]] = [[r.job, r.target, "replayed", str(r.replayed)] for r in reports]
            rows += [[r.job, r.target, reason, str(count)] for r in reports for reason, count in r.left.items()]
            _print_csv(("job", "target", "what", "letters"), rows)
        case _:
            for report in reports:
                done = "would be replayed" if report.dry_run else "replayed"
                print(f"{report.job}: {report.replayed} {done} to {report.target}")
                for reason, count in report.left.items():
                    print(f"  {count} left: {reason}")


def print_purged(reports: Sequence[PurgeReport], form: LetterOutput) -> None:
    match form:
        case LetterOutput.JSON:
            print(json.dumps({"jobs": [asdict(report) for report in reports]}))
        case LetterOutput.CSV:
            _print_csv(("job", "purged"), [[report.job, str(report.purged)] for report in reports])
        case _:
            for report in reports:
                print(f"{report.job}: {report.purged} {'would be purged' if report.dry_run else 'purged'}")


# --- parts ------------------------------------------------------------------------------------------------------------


def _fields(job: str, letter: Letter) -> dict[str, str | int]:
    values = (
        job,
        letter.id,
        letter.state.value,
        letter.code,
        letter.stage,
        letter.header("ferris.position"),
        letter.replays,
        letter.header("ferris.last_failed_at"),
        letter.header("__connect.errors.exception.message"),
    )
    return dict(zip(_FIELDS, values, strict=True))


def _whole(job: str, letter: Letter) -> dict[str, object]:
    return {
        "job": job,
        "id": letter.id,
        "state": letter.state.value,
        "replays": letter.replays,
        "headers": dict(letter.headers),
        "original_headers": [[name, _base64(value)] for name, value in letter.original],
        "key": _base64(letter.key),
        "value": _base64(letter.value),
        "text": letter.text,
    }


def _base64(data: bytes | None) -> str | None:
    return base64.b64encode(data).decode() if data is not None else None


def _print_table(letters: Sequence[JobLetter], total: int) -> None:
    """A row a letter; on a terminal that has no room for the messages beside the rest, a block of lines."""
    several = len({job for job, _ in letters}) > 1
    names = [name for name in _FIELDS if name != "job" or several]
    rows = [[str(_fields(job, letter)[name]) for name in names] for job, letter in letters]
    heads = [name.replace("_", " ") for name in names]
    rest = sum(max(len(row[place]) for row in (heads, *rows)) + 2 for place in range(len(heads) - 1))
    width = terminal_columns(sys.stdout) if sys.stdout.isatty() else None
    if width is not None and width - rest < _MESSAGE_COLUMNS:
        print("\n\n".join(_block(dict(zip(names, row, strict=True)), width) for row in rows))
    elif rows:
        _print_rows(heads, rows, width or _WIDTH_OF_A_FILE)
    _tell_rest(len(letters), total)


def _block(fields: dict[str, str], width: int) -> str:
    """A letter at any width: what it is, when and where, and why."""
    what = " ".join(fields[name] for name in ("job", "id", "state", "code", "stage") if name in fields)
    again = f", replays {fields['replays']}" if fields["replays"] != "0" else ""
    where = f"{fields['last_failed_at']} {fields['position']}{again}"
    lines = textwrap.wrap(what, width)
    for text in (where, fields["message"]):
        lines += textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(lines)


def _print_rows(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for head in heads:
        table.add_column(head, no_wrap=head != "message")
    for row in rows:
        table.add_row(*map(Text, row))
    Console(file=sys.stdout, highlight=False, width=width).print(table)


def _tell_rest(shown: int, total: int) -> None:
    if total != shown or total == 0:
        print(f"{shown} of {total} dead letters" if total else "no dead letters")


def _print_whole(job: str, letter: Letter) -> None:
    shown = letter.text if len(letter.text) <= _VALUE_SHOWN else letter.text[:_VALUE_SHOWN] + " …"
    print(f"{job} {letter.id}: {letter.state.value}, replayed {letter.replays} times before")
    for name, text in letter.headers.items():
        print(f"  {name}: {text}")
    for name, value in letter.original:
        print(f"  record header {name}: {value!r}")
    if letter.key is not None:
        print(f"  key: {letter.key.decode('utf-8', 'backslashreplace')}")
    print(f"  {shown}")


def _print_csv(names: Sequence[str], rows: Sequence[Sequence[str | None]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
