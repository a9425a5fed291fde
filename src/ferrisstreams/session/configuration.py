"""Every setting of a job with its value and where that comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ferrisstreams.config.kinds import value_text
from ferrisstreams.config.registry import Key
from ferrisstreams.config.resolve import Setting, Settings, find_key
from ferrisstreams.config.secrets import MASK, is_secret
from ferrisstreams.config.values import Property
from ferrisstreams.errors import placed_at
from ferrisstreams.plan.nodes import JobPlan, OpenJob
from ferrisstreams.plan.stages import cut
from ferrisstreams.runtime.settings import SourceSettings, settings_of, settings_of_open
from ferrisstreams.session.application import Application, RunOptions

if TYPE_CHECKING:
    from ferrisstreams.connectors.kafka.client import Side

_KAFKA = "kafka."


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """`origin` is `user`, `required` (by delivery), `suggested` or `default`, `by` the place or setting that it comes
    from, where there is one."""

    name: str
    value: str
    origin: str
    by: str = ""

    @property
    def origin_text(self) -> str:
        """The origin as it is printed."""
        if not self.by:
            return self.origin
        return f"suggested by {self.by}" if self.origin == "suggested" else f"{self.origin}: {self.by}"


@dataclass(frozen=True, slots=True)
class SideConfiguration:
    """The settings of a job's source, or of its sink together with the job; `stream` is the declared name."""

    stream: str
    connector: str
    settings: tuple[ShownSetting, ...]


@dataclass(frozen=True, slots=True)
class JobConfiguration:
    name: str
    sources: tuple[SideConfiguration, ...]
    sink: SideConfiguration


def configurations(application: Application, options: RunOptions, job: str | None) -> list[JobConfiguration]:
    """Those of all jobs, or of the job of this name. Nothing is opened. Raises ConfigError for what is wrong."""
    overrides = {name: Property(value, origin="--set") for name, value in options.overrides.items()}
    plans: list[JobPlan | OpenJob] = [*application.plan.jobs, *application.plan.open_jobs]
    return [_job_configuration(plan, overrides) for plan in plans if job in (None, plan.name)]


def _job_configuration(job: JobPlan | OpenJob, overrides: Mapping[str, Property]) -> JobConfiguration:
    if isinstance(job, OpenJob):
        sink, settings = job.sink, settings_of_open(job, overrides)
    else:
        sink, settings = job.plan.spec, settings_of(job, cut(job.plan).sources, overrides)
    of_sink = list(_settings(Settings({**settings.job.values, **settings.sink.values})))
    if settings.sink_connector.messages:
        with placed_at(job.position):
            of_sink += _client_settings(settings.job, "producer", job.name)
    return JobConfiguration(
        job.name,
        tuple(map(_source_configuration, settings.sources)),
        SideConfiguration(sink.name, settings.sink_connector.name, tuple(of_sink)),
    )


def _source_configuration(source: SourceSettings) -> SideConfiguration:
    found = list(_settings(source.values))
    if source.connector.messages:
        with placed_at(source.spec.position):
            found += _client_settings(source.values, "consumer", source.spec.name)
    return SideConfiguration(source.spec.name, source.connector.name, tuple(found))


def _settings(settings: Settings) -> Iterator[ShownSetting]:
    """All but properties of a client, and what is off or found out."""
    for name, setting in settings.values.items():
        key = find_key(name)
        assert key is not None, name
        if setting.value is not None and not name.startswith(_KAFKA):
            yield _shown(name, key, setting)


def _shown(name: str, key: Key, setting: Setting) -> ShownSetting:
    text = MASK if is_secret(name) else value_text(key.kind, setting.value)
    if setting.property is None:
        return ShownSetting(name, text, "default")
    return ShownSetting(name, text, "user", _place(setting.property))


def _place(prop: Property) -> str:
    return str(prop.position) if prop.position is not None else prop.origin


def _client_settings(settings: Settings, side: Side, owner: str) -> Iterator[ShownSetting]:
    # Imported here: jobs between files do without the client.
    from ferrisstreams.connectors.kafka.settings import all_client_properties

    given = settings.properties_below(_KAFKA)
    exactly_once = settings.values.get("job.mode", Setting(None)).value != "at_least_once"
    strict = side == "consumer" or exactly_once
    for name, prop in sorted(all_client_properties(settings, side, owner, strict).items()):
        if name == "bootstrap.servers":
            continue  # A setting of ours, which is shown as that.
        value = MASK if is_secret(name) else prop.value
        origin = {"given": "user"}.get(prop.origin, prop.origin)
        by = _place(given[name]) if name in given else prop.by
        yield ShownSetting(f"{_KAFKA}{name}", value, origin, by)
