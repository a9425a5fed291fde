"""The columns of sources that declare none: inferred from a sample once, kept with the state, and held to."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ferrisstreams.config.formats import format_of
from ferrisstreams.config.registry import Scope
from ferrisstreams.config.resolve import Settings, resolve
from ferrisstreams.connectors.connector import Connector, SourceContext
from ferrisstreams.connectors.file import encoding_of, has_header, source_files
from ferrisstreams.connectors.kafka.connector import topic_of
from ferrisstreams.connectors.registry import connector_of
from ferrisstreams.durable_file import replace_text
from ferrisstreams.errors import SqlError, StateError
from ferrisstreams.formats.sampling import Sample
from ferrisstreams.formats.settings import DecodeSettings
from ferrisstreams.plan.nodes import SourceSpec
from ferrisstreams.schema import Column, Schema
from ferrisstreams.session.infer import infer_topic, sample_files

#: Beside the folders of the jobs, because several may read one source.
KEPT_FILE = "columns.json"

#: The group that a sample is read for; nothing is committed to it.
_INFERENCE_GROUP = "ferris.infer"


@dataclass(frozen=True, slots=True)
class FoundColumns:
    """The columns of a source, and whether they were kept from an earlier run. `unusable` are those just left out."""

    source: str
    schema: Schema
    kept: bool
    unusable: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ", ".join(f"{column.name} {column.type}" for column in self.schema)


class Columns:
    """Those of one application in `folder`, whose state is below `state_root`.

    `infer_again`: what was kept does not count. `topics`: topics may be read.
    """

    def __init__(self, folder: Path, state_root: Path, infer_again: bool = False, topics: bool = False) -> None:
        self._topics = topics
        self._folder = folder
        self._state_root = state_root
        self._kept = {} if infer_again else _read(state_root / KEPT_FILE)
        self._new: dict[str, Sample] = {}
        self.found: list[FoundColumns] = []

    def infer(self, source: SourceSpec) -> Schema | None:
        """None for a topic that is not to be read now, or holds nothing that tells.

        Raises SqlError for other sources than files and topics, FatalConnectorError when a file gives no columns,
        ConnectorError when a topic cannot be read.
        """
        connector = connector_of(source.properties)
        if connector is not None and connector.messages:
            return self._topic_schema(source, connector)
        if connector is not None and connector.files:
            return self._file_schema(source, connector)
        raise SqlError(
            f"the columns of {source.name} are not declared",
            "E1205",
            "declare them: CREATE STREAM name (columns) WITH (connector = 'file', path = …)",
            source.position,
        )

    def _file_schema(self, source: SourceSpec, connector: Connector) -> Schema | None:
        settings = resolve(source.properties, (Scope.SOURCE,), connector.name)
        given = settings.optional_text("path")
        if given is None:
            raise SqlError(f"source {source.name} has no 'path'", "E3004", "add 'path' = 'file'", source.position)
        path = str((self._folder / given.removeprefix("file://")).absolute())
        key = f"{settings.text('format').lower()} {self._place(path)}"
        self._carry_over(key, given)
        return self._found(source, key, lambda: sample_files(source_files(settings, path), _decode(settings)))

    def _place(self, path: str) -> str:
        """What a file is called here: relative to the application where the state lies with it and may move with it."""
        if self._state_root.is_relative_to(self._folder) and Path(path).is_relative_to(self._folder):
            return str(Path(path).relative_to(self._folder))
        return path

    def _carry_over(self, key: str, given: str) -> None:
        """What was kept by the absolute path of a file: of a state of before, or of a folder that was moved since."""
        if key in self._kept or os.path.isabs(given.removeprefix("file://")):
            return
        form = key.split(" ")[0]
        ending = os.sep + str(Path(given.removeprefix("file://")))
        former = [old for old in self._kept if old.startswith(f"{form} {os.sep}") and old.endswith(ending)]
        here = f"{form} {self._folder}{ending}"
        # What lies with the application is of its files; elsewhere another application may have such a file too.
        together = self._state_root.is_relative_to(self._folder)
        moved = [old for old in former if together or not os.path.exists(old.removeprefix(f"{form} "))]
        found = [here] if here in former else moved
        if len(found) == 1:
            self._kept[key] = self._kept[found[0]]
            self._new[key] = Sample(self._kept[key], (), ())

    def _topic_schema(self, source: SourceSpec, connector: Connector) -> Schema | None:
        settings = resolve(source.properties, (Scope.SOURCE,), connector.name)
        topic = topic_of(settings, source.name)
        servers = settings.optional_text("bootstrap.servers") or ""
        key = f"{settings.text('format').lower()} kafka://{servers}/{topic}"
        if not self._topics and key not in self._kept:
            return None
        context = SourceContext(source.name, settings, self._folder, group=_INFERENCE_GROUP)
        return self._found(source, key, lambda: infer_topic(context, _decode(settings)))

    def _found(self, source: SourceSpec, key: str, infer: Callable[[], Sample | None]) -> Schema | None:
        if key in self._kept:
            self.found.append(FoundColumns(source.name, self._kept[key], kept=True))
            return self._kept[key]
        if key not in self._new:
            sample = infer()
            if sample is None or not sample.schema:
                return None
            self._new[key] = sample
        sample = self._new[key]
        self.found.append(FoundColumns(source.name, sample.schema, False, sample.unusable))
        return sample.schema

    def keep(self, state_root: Path) -> None:
        """Write down what was inferred, for later runs. Raises StateError E5005."""
        if not self._new:
            return
        path = state_root / KEPT_FILE
        _write(path, {**_read(path), **{key: sample.schema for key, sample in self._new.items()}})

    def forget(self, state_root: Path) -> None:
        """What was inferred now is not kept after all: nothing of the jobs that read it is final. Raises StateError."""
        path = state_root / KEPT_FILE
        left = {key: schema for key, schema in _read(path).items() if key not in self._new}
        if left:
            _write(path, left)
        elif self._new:
            path.unlink(missing_ok=True)
            with suppress(OSError):  # something else is there
                state_root.rmdir()


def _decode(settings: Settings) -> DecodeSettings:
    return DecodeSettings(
        format_of(settings, "source"),
        header=has_header(settings),
        delimiter=settings.text("delimiter"),
        quote=settings.text("quote"),
        nulls=(settings.text("nulls"),),
        timestamp_format=settings.optional_text("timestamp.format"),
        encoding=encoding_of(settings),
    )


def _write(path: Path, known: Mapping[str, Schema]) -> None:
    content = {key: [[c.name, c.type] for c in schema] for key, schema in known.items()}
    try:
        replace_text(path, json.dumps(content, indent=1))
    except OSError as error:
        raise StateError(f"{path} cannot be written: {error.strerror}", "E5005", "give --state-dir a folder") from error


def _read(path: Path) -> dict[str, Schema]:
    try:
        content = json.loads(path.read_text("utf-8"))
        return {key: Schema(tuple(Column(str(n), str(t), True) for n, t in kept)) for key, kept in content.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise StateError(
            f"{path} cannot be read: {error}", "E5005", "delete it: the columns are then inferred again"
        ) from error
