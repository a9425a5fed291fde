"""Annotations: comments of the form `-- @name: value` right before what they describe."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from ferrisstreams.config.values import Property
from ferrisstreams.sql.lexer import Annotation
from ferrisstreams.sql.source_text import SourceText

_APPLICATION = ("app", "version", "description")
_JOB = ("name", "depends_on", "job_mode", "batch_size", "batch_strategy", "failure_strategy")
_LATER = (
    "metric", "metric_type", "metric_help", "metric_labels", "metric_field", "metric_condition", "metric_buckets",
    "observability.metrics", "observability.tracing", "observability.profiling",
)  # fmt: skip


def application_annotations(
    source: SourceText, notes: Sequence[Annotation], warnings: list[str]
) -> tuple[dict[str, Property], tuple[Annotation, ...]]:
    """The application's annotations among those before the first statement, and the others."""
    own = [note for note in notes if note.name in _APPLICATION]
    return _collect(source, own), tuple(note for note in notes if note.name not in _APPLICATION)


def job_annotations(
    source: SourceText, before: Sequence[Annotation], inside: Sequence[Annotation], warnings: list[str]
) -> dict[str, Property]:
    """The annotations of the statement that follows. Unknown ones become warnings."""
    for note in inside:
        if note.name in (*_APPLICATION, *_JOB, *_LATER):
            raise source.error(
                note.span, f"@{note.name} stands inside a statement", "E1002", "put it right before the statement"
            )
    return _collect(source, [note for note in before if _is_known(source, note, warnings)])


def _is_known(source: SourceText, note: Annotation, warnings: list[str]) -> bool:
    if note.name in _APPLICATION:
        raise source.error(
            note.span,
            f"@{note.name} describes the application and stands before its first statement",
            "E1002",
            "move it to the top of the file",
        )
    if note.name in _LATER:
        raise source.error(note.span, f"@{note.name} is not supported yet", "E1201", "remove it")
    if note.name in _JOB:
        return True
    near = get_close_matches(note.name, (*_JOB, *_APPLICATION), 1, 0.6)
    hint = f": did you mean @{near[0]}?" if near else ""
    warnings.append(f"{source.position(note.span)}: the annotation @{note.name} is not known{hint}")
    return False


def _collect(source: SourceText, notes: Sequence[Annotation]) -> dict[str, Property]:
    found: dict[str, Property] = {}
    for note in notes:
        if note.name in found:
            raise source.error(note.span, f"@{note.name} is given twice", "E1103", "keep one of them")
        if not note.value:
            raise source.error(note.span, f"@{note.name} has no value", "E1002", f"write -- @{note.name}: value")
        found[note.name] = Property(note.value, source.position(note.span))
    return found
