"""`ferris config show`: every setting of each job, and where its value comes from."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from ferrisstreams.cli.application import open_application
from ferrisstreams.cli.arguments import ConfigArguments, Output, parse_settings
from ferrisstreams.session.application import RunOptions
from ferrisstreams.session.configuration import JobConfiguration, SideConfiguration, configurations


def run_show(arguments: ConfigArguments) -> int:
    """The exit code: 0. Raises FerrisError where the application or a setting is wrong."""
    application = open_application(arguments.file)
    found = configurations(application, RunOptions(overrides=parse_settings(arguments.settings)), arguments.job)
    if not found and arguments.job is not None:
        raise typer.BadParameter(f"no job is named {arguments.job!r}", param_hint="--job")
    if arguments.output is Output.JSON:
        print(json.dumps({"jobs": [asdict(job) for job in found]}))
    else:
        print("\n\n".join("\n".join(_lines(job, arguments.origin)) for job in found))
    return 0


def _lines(job: JobConfiguration, origin: bool) -> list[str]:
    return [
        f"job {job.name}",
        *(
            line
            for source in job.sources
            for line in (f"  source {source.stream} ({source.connector})", *_settings(source, origin))
        ),
        f"  sink {job.sink.stream} ({job.sink.connector})",
        *_settings(job.sink, origin),
    ]


def _settings(side: SideConfiguration, origin: bool) -> list[str]:
    return [
        f"    {setting.name}: {setting.value}" + (f"  ({setting.origin_text})" if origin else "")
        for setting in side.settings
    ]
