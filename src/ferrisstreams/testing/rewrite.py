"""Writes output and ledger into test files where they differ: a typing aid, whose diff is reviewed like code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ferrisstreams.testing.case import Case, Span
from ferrisstreams.testing.cells import layout


@dataclass(frozen=True, slots=True)
class Found:
    """What a case really gave; None leaves the part of the file as it is."""

    columns: Sequence[str] = ()
    rows: Sequence[Sequence[object]] | None = None
    ledger: Mapping[str, int] | None = None


def rewrite(path: Path, found: Mapping[int, Found], cases: Sequence[Case]) -> None:
    """Put what was found into the file; `found` is by the line of a case's title."""
    lines = path.read_text("utf-8").splitlines()
    for case in sorted(cases, key=lambda case: case.line, reverse=True):
        if (news := found.get(case.line)) is not None:
            for span, text in _edits(case, news):
                lines[span.first - 1 : span.last] = text
    path.write_text("\n".join(lines) + "\n", "utf-8")


def _edits(case: Case, news: Found) -> list[tuple[Span, list[str]]]:
    """Edits of a case, the last one of the file first. A missing section goes behind the case's last line."""
    behind = Span(case.last_line + 1, case.last_line)
    output = ["output", *("  " + line for line in layout(news.columns, news.rows))] if news.rows is not None else None
    ledger = [ledger_text(news.ledger)] if news.ledger is not None else None
    missing = [line for name, text in (("output", output), ("ledger", ledger)) if text and name not in case.spans
               for line in text]  # fmt: skip
    edits = [(behind, missing)] if missing else []
    present = [(case.spans[name], text) for name, text in (("output", output), ("ledger", ledger))
               if text and name in case.spans]  # fmt: skip
    return edits + sorted(present, key=lambda edit: edit[0].first, reverse=True)


def ledger_text(ledger: Mapping[str, int]) -> str:
    """The ledger's line: the counts that are not zero, `read` always."""
    counts = [f"{name} {count}" for name, count in ledger.items() if count or name == "read"]
    return " ".join(("ledger", *counts))
