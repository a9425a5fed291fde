"""Which files the jobs of an application write, and that no two of them write the same."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePath

from ferrisstreams.connectors.file import file_source_settings, output_names
from ferrisstreams.connectors.output_names import OutputNames
from ferrisstreams.errors import ConfigError, Position
from ferrisstreams.runtime.build import JobBuilder


@dataclass(frozen=True, slots=True)
class _Output:
    """A file that a job writes, by its real path, or one file after another by their `names`."""

    job: str
    what: str
    path: str
    names: OutputNames | None
    position: Position | None

    def clashes(self, other: _Output) -> bool:
        """Whether both could write one file."""
        if self.names is not None and other.names is not None:
            return self.names.claimed == other.names.claimed
        if self.names is not None:
            return self.names.matches(other.path)
        return other.names.matches(self.path) if other.names is not None else self.path == other.path


def refuse_shared_outputs(builders: Iterable[JobBuilder]) -> None:
    """Raises ConfigError E3003 where two jobs write one file, however it is spelled, or one reads what it writes."""
    seen: list[_Output] = []
    for builder in builders:
        sources = list(_sources(builder))
        for output in _outputs(builder):
            if any(_covers(source, output) for source in sources):
                raise ConfigError(
                    f"{output.job} would read the {output.what} that it writes, {output.path}",
                    "E3003",
                    "write to another path",
                    output.position,
                )
            for other in seen:
                if output.clashes(other):
                    raise ConfigError(
                        f"the {other.what} of {other.job} and the {output.what} of {output.job} would be written to one"
                        f" file, {output.path}",
                        "E3003",
                        "give each a path of its own",
                        output.position,
                    )
            seen.append(output)


def _outputs(builder: JobBuilder) -> Iterator[_Output]:
    plan, job = builder.plan, builder.settings.job
    if builder.settings.sink_connector.files:
        path = str(builder.sink_path())
        names = output_names(job, path)
        if names is not None:
            yield _Output(plan.name, "output", path, OutputNames(_real(path, names.folder)), plan.position)
        elif not os.path.exists(path) or os.path.isfile(path):  # A device or a pipe is nobody's.
            yield _Output(plan.name, "output", os.path.realpath(path), None, plan.position)
    if builder.needs_dead_letters and builder.dead_letter_topic() is None:
        path = os.path.realpath(builder.dead_letter_path())
        yield _Output(plan.name, "file of dead letters", path, None, plan.position)


def _sources(builder: JobBuilder) -> Iterator[str]:
    """The real paths, or globs, of what a job reads from files."""
    if builder.environment.stand_ins is not None:
        return
    for source in builder.sources:
        if source.connector.files:
            names = file_source_settings(builder.source_context(source)).names
            yield _real(names.pattern, names.folder) if names.is_glob else os.path.realpath(names.pattern)


def _covers(source: str, output: _Output) -> bool:
    if output.names is not None:
        return source == output.names.wild
    if not glob.has_magic(source):
        return source == output.path
    return fnmatch.fnmatch(output.path, source) if "**" in source else PurePath(output.path).match(source)


def _real(path: str, folder: str) -> str:
    """The path with its fixed folder by its real name."""
    return os.path.join(os.path.realpath(folder), os.path.relpath(path, folder))
