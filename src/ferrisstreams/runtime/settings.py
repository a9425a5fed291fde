"""The settings of a job, typed: those of its source, those of its sink and itself, and how they go together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ferrisstreams.config.registry import KEYS, Key, Scope
from ferrisstreams.config.resolve import Setting, Settings, find_key, is_per_side, resolve
from ferrisstreams.config.values import Property
from ferrisstreams.connectors.connector import Connector
from ferrisstreams.connectors.registry import CONNECTORS
from ferrisstreams.errors import ConfigError, Position, placed_at
from ferrisstreams.plan.nodes import JobPlan, OpenJob, SinkSpec, SourceSpec
from ferrisstreams.runtime.failures import FailurePolicy

#: Annotations of a job and the key that each one sets.
_ANNOTATION_KEYS = {
    "job_mode": "job.mode",
    "failure_strategy": "failure_strategy",
    "batch_size": "batch.size",
    "batch_strategy": "batch.strategy",
}

#: Annotations that only say something about a job.
_DESCRIPTIVE = frozenset({"name", "version", "description", "depends_on"})


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """Of one source. `values` also hold the job's, of keys that a source may narrow (batches, lateness, failures)."""

    spec: SourceSpec
    values: Settings
    connector: Connector


@dataclass(frozen=True, slots=True)
class JobSettings:
    """`sink` holds the keys of failures as they hold for the sink."""

    sources: tuple[SourceSettings, ...]
    sink: Settings
    job: Settings
    sink_connector: Connector

    @property
    def source(self) -> Settings:
        """Of a job with one source."""
        (source,) = self.sources
        return source.values

    @property
    def source_connector(self) -> Connector:
        """Of a job with one source."""
        (source,) = self.sources
        return source.connector


def settings_of(plan: JobPlan, sources: Sequence[SourceSpec], overrides: Mapping[str, Property]) -> JobSettings:
    """Type and check every setting of a job. `overrides` (command line) win. Raises ConfigError."""
    return _settings(plan.name, plan.plan.spec, sources, (plan.annotations, plan.position), overrides)


def settings_of_open(job: OpenJob, overrides: Mapping[str, Property]) -> JobSettings:
    """The same of a job that is not bound yet."""
    return _settings(job.name, job.sink, [job.source], (job.annotations, job.position), overrides)


def _settings(
    name: str,
    sink: SinkSpec,
    sources: Sequence[SourceSpec],
    statement: tuple[Mapping[str, Property], Position | None],
    overrides: Mapping[str, Property],
) -> JobSettings:
    annotations, position = statement
    own = {**_from_annotations(annotations), **sink.properties}
    with placed_at(position):
        sinks = [connector for connector in CONNECTORS.values() if connector.writes]
        sink_connector = _connector(own, "stdout" if sink.anonymous else None, sinks, f"sink {name}")
    readable = [connector for connector in CONNECTORS.values() if connector.reads]
    connectors = []
    for source in sources:
        with placed_at(source.position):
            connectors.append(_connector(source.properties, None, readable, f"source {source.name}"))
    for_job, for_sources = _split_overrides(
        overrides, [connector.name for connector in connectors], sink_connector.name
    )
    of_job = resolve({**own, **for_job}, (Scope.SINK, Scope.JOB), sink_connector.name)
    found = []
    for source, connector, for_source in zip(sources, connectors, for_sources, strict=True):
        given = resolve({**source.properties, **for_source}, (Scope.SOURCE,), connector.name)
        _refuse_unheard(of_job, given, sink_connector)
        found.append(SourceSettings(source, _narrowed(of_job, given), connector))
    return JobSettings(tuple(found), _sink_settings(of_job), of_job, sink_connector)


def _from_annotations(annotations: Mapping[str, Property]) -> dict[str, Property]:
    found = {}
    for name, prop in annotations.items():
        if name in _ANNOTATION_KEYS:
            found[_ANNOTATION_KEYS[name]] = prop
        elif name not in _DESCRIPTIVE:
            raise ConfigError(f"@{name} is not supported yet", "E3001", "leave the annotation out", prop.position)
    return found


def _connector(
    properties: Mapping[str, Property], default: str | None, known: Sequence[Connector], owner: str
) -> Connector:
    names = ", ".join(connector.name for connector in known)
    prop = next((prop for name, prop in properties.items() if name.lower() == "connector"), None)
    if prop is None:
        if default is None:
            raise ConfigError(f"{owner} has no 'connector'", "E3004", f"add 'connector' = one of {names}")
        return CONNECTORS[default]
    connector = CONNECTORS.get(str(prop.value).lower())
    if connector is None or connector not in known:
        raise ConfigError(f"{owner}: unknown connector '{prop.value}'", "E3002", f"one of {names}", prop.position)
    return connector


def _split_overrides(
    overrides: Mapping[str, Property], sources: Sequence[str], sink: str
) -> tuple[dict[str, Property], list[dict[str, Property]]]:
    """Overrides by where their key may stand: for the job, and for each source, by its connector. One that may stand
    nowhere is left to the job, whose error names it."""
    for_job: dict[str, Property] = {}
    for_sources: list[dict[str, Property]] = [{} for _ in sources]
    for name, prop in overrides.items():
        key = find_key(name)
        heard = [
            own
            for own, source in zip(for_sources, sources, strict=True)
            if _may_stand(key, Scope.SOURCE, source) and not (key is not None and key.overrides_sink)
        ]
        in_source = bool(heard)
        in_sink = _may_stand(key, Scope.SINK, sink)
        if name in ("connector", "format", "path") or (name == "topic" and in_source and in_sink):
            raise ConfigError(
                f"--set {name} would change source and sink alike", "E3005", "change the application file"
            )
        if key is not None and is_per_side(key, name.lower()):
            for_job[name] = prop
            continue
        # What is said of the source alone goes before what is said of both sides.
        if f"source.{name.lower()}" not in {other.lower() for other in overrides}:
            for own in heard:
                own[name] = prop
        # What is said of a cluster holds for both sides; of other keys that may stand on both, the source is meant.
        if not in_source or _may_stand(key, Scope.JOB, sink) or (in_sink and key is not None and key.overrides_both):
            for_job[name] = prop
    return for_job, for_sources


def _may_stand(key: Key | None, scope: Scope, connector: str) -> bool:
    return key is not None and scope in key.scopes and (not key.connectors or connector in key.connectors)


#: Keys of batches that say nothing to a producer either.
_BATCHES_OF_SOURCE = frozenset({"batch.min_size", "batch.target_latency"})


def _refuse_unheard(job: Settings, source: Settings, sink_connector: Connector) -> None:
    """A job has one batching, which also sets how a Kafka sink fills its batches. Where the source has its own value,
    the job's would be for the sink alone. Raises ConfigError E3005 where a sink has no such key."""
    for key in KEYS:
        prop = job.property(key.name) if key.name.startswith("batch.") else None
        own = source.property(key.name) or job.property(f"source.{key.name}")
        # An override holds for both sides alike.
        if prop is None or own is None or own is prop or _commanded(job.values[key.name]):
            continue
        if not sink_connector.fills_batches or key.name in _BATCHES_OF_SOURCE:
            raise ConfigError(
                f"'{key.name}' = '{prop.value}' has no effect: the source has its own, '{own.value}', and a"
                f" {sink_connector} sink has no such batches",
                "E3005",
                "leave one of them out",
                prop.position,
            )


def _narrowed(job: Settings, source: Settings) -> Settings:
    """The source's settings, with the job's where the source says nothing."""
    values = dict(source.values)
    for key in KEYS:
        if key.per_side and not source.given(key.name):
            narrowed = job.values.get(f"source.{key.name}", job.values.get(key.name))
            if narrowed is not None:
                values[key.name] = narrowed
    return replace(source, values=values)


def _sink_settings(job: Settings) -> Settings:
    """The keys of failures, with `sink.<key>` where it is given; the command line wins over the text."""
    values = {}
    for key in KEYS:
        if key.of_sink:
            general, own = job.values[key.name], job.values.get(f"sink.{key.name}")
            values[key.name] = general if own is None or (_commanded(general) and not _commanded(own)) else own
    return replace(job, values=values)


def _commanded(setting: Setting) -> bool:
    return setting.property is not None and setting.property.origin == "--set"


def failure_policy(settings: Settings) -> FailurePolicy:
    """The failure strategy of a side."""
    match settings.text("failure_strategy"):
        case "send_to_dlq":
            return FailurePolicy("dlq")
        case "fail_batch":
            return FailurePolicy("fail")
        case "retry_with_backoff":
            return FailurePolicy(
                settings.text("on.exhausted"),
                settings.integer("max_retries"),
                settings.duration_ms("retry_backoff"),
                settings.duration_ms("retry_backoff.max"),
            )
        case _:
            return FailurePolicy("skip")
