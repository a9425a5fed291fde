"""Annotations: comments of the form `-- @name: value` right before what they describe."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches

from ferrisstreams.config.values import Property
from ferrisstreams.sql.lexer import Annotation
from ferrisstreams.sql.source_text import SourceText

_APPLICATION = ("app", "version", "description")
_JOB = ("name", "depends_on", "job_mode", "batch_size", "batch_strategy", "failure_strategy")
#: What is recognised and not there yet: the job runs without it, and says so.
_LATER = ("metric", "observability.metrics", "observability.tracing", "observability.profiling")
_OF_A_METRIC = (
    "metric_type", "metric_help", "metric_labels", "metric_field", "metric_condition", "metric_buckets",
    "metric_sample_rate",
)  # fmt: skip

#: Annotations of the predecessor that change no result -> what takes their place.
_WITHOUT_EFFECT: Mapping[str, str] = {
    **dict.fromkeys(
        ("num_partitions", "partitioning_strategy", "sticky-partition-id", "partition-count"),
        "rows go to keys by GROUP BY, whatever their partition",
    ),
    **dict.fromkeys(("phase", "compliance", "data_retention", "enable_dlq", "dlq_max_size", "propagate_headers",
        "join_header_source"), "settings stand in WITH (…)"),
}  # fmt: skip
_PREFIXES_WITHOUT_EFFECT = ("deployment.", "sla.", "data.", "observability.")


def application_annotations(
    source: SourceText, notes: Sequence[Annotation], warnings: list[str]
) -> tuple[dict[str, Property], tuple[Annotation, ...]]:
    """The application's annotations among those before the first statement, and the others."""
    own = [note for note in notes if note.name in _APPLICATION]
    named = any(note.name == "app" and not note.is_header for note in own)
    own = [_plainly_named(note) for note in own if not (note.is_header and named)]
    return _collect(source, own), tuple(note for note in notes if note.name not in _APPLICATION)


def _plainly_named(note: Annotation) -> Annotation:
    """A title of the predecessor's header as a name: it becomes part of paths and of groups."""
    return replace(note, value=re.sub(r"[^A-Za-z0-9_.-]+", "-", note.value).strip("-")) if note.is_header else note


def job_annotations(
    source: SourceText, before: Sequence[Annotation], inside: Sequence[Annotation], warnings: list[str]
) -> dict[str, Property]:
    """The annotations of the statement that follows. Unknown ones become warnings."""
    for note in inside:
        if note.name in (*_APPLICATION, *_JOB, *_LATER, *_OF_A_METRIC) and not note.is_header:
            raise source.error(
                note.span, f"@{note.name} stands inside a statement", "E1002", "put it right before the statement"
            )
    return _collect(source, [note for note in before if _is_known(source, note, warnings)])


def _is_known(source: SourceText, note: Annotation, warnings: list[str]) -> bool:
    if note.name in _APPLICATION:
        if note.is_header:
            return False
        raise source.error(
            note.span,
            f"@{note.name} describes the application and stands before its first statement",
            "E1002",
            "move it to the top of the file",
        )
    warning = _warning(note)
    if warning is not None:
        warnings.append(f"{source.position(note.span)}: {warning}")
    return warning is None and note.name in _JOB


def _warning(note: Annotation) -> str | None:
    """What an annotation does not do."""
    if note.name in _LATER:
        return f"@{note.name} is not computed yet: the job runs without it"
    if note.name == "job_mode" and note.value.lower() == "adaptive":
        return "@job_mode: adaptive is not a mode here: the job runs in the default one"
    if note.name in _JOB or note.name in _OF_A_METRIC:
        return None
    if note.name in _WITHOUT_EFFECT:
        return f"@{note.name} has no effect: {_WITHOUT_EFFECT[note.name]}"
    if note.name.startswith(_PREFIXES_WITHOUT_EFFECT):
        return f"@{note.name} has no effect"
    near = get_close_matches(note.name, (*_JOB, *_APPLICATION), 1, 0.6)
    hint = f": did you mean @{near[0]}?" if near else ""
    return f"the annotation @{note.name} is not known{hint}"


def _collect(source: SourceText, notes: Sequence[Annotation]) -> dict[str, Property]:
    found: dict[str, Property] = {}
    for note in notes:
        if note.name in found:
            raise source.error(note.span, f"@{note.name} is given twice", "E1103", "keep one of them")
        if not note.value:
            raise source.error(note.span, f"@{note.name} has no value", "E1002", f"write -- @{note.name}: value")
        found[note.name] = Property(note.value, source.position(note.span))
    return found
