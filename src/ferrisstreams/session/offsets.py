"""Where a job is in its source, beside what is committed outside and what the topic holds; and moving it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ferrisstreams.batch import JsonValue, Positions, integer, partition_key
from ferrisstreams.connectors.kafka.settings import kafka_source_settings
from ferrisstreams.connectors.kafka.source import KafkaSource
from ferrisstreams.connectors.kafka.startup import parse_startup
from ferrisstreams.errors import ConfigError
from ferrisstreams.plan.nodes import JobPlan
from ferrisstreams.plan.stages import cut
from ferrisstreams.runtime.build import JobBuilder
from ferrisstreams.runtime.job import Job
from ferrisstreams.runtime.settings import SourceSettings
from ferrisstreams.session.application import Application, RunOptions
from ferrisstreams.session.outside import committed
from ferrisstreams.session.reading import final_row
from ferrisstreams.session.workers import builders_of


@dataclass(frozen=True, slots=True)
class PartitionOffsets:
    """A partition: the job's position, the offset that its group has committed, and where the topic ends (None: not
    known, or not a topic). `lag` counts offsets, of which some may hold no record."""

    partition: str
    position: JsonValue
    committed: int | None
    end: int | None

    @property
    def lag(self) -> int | None:
        return self.end - self.position if isinstance(self.position, int) and self.end is not None else None


def show(application: Application, options: RunOptions, plan: JobPlan) -> list[PartitionOffsets]:
    """The partitions of a job that has run. Raises StateError where it has no state, ConnectorError."""
    with builders_of(application, options, plan) as builders:
        found = [each for builder in builders for each in _partitions(builder)]
        return found if len(builders) == 1 else sorted(found, key=lambda each: int(each.partition.rpartition("-")[2]))


def _partitions(builder: JobBuilder) -> list[PartitionOffsets]:
    """Those of one worker."""
    row, _ = final_row(builder)
    known: Positions = row.positions if row is not None else {}
    outside = committed(builder, row.epoch if row is not None else 0)
    ends: dict[str, int] = {}
    for source in builder.sources:
        if source.connector.messages:
            own = _positions_at(builder, source, "latest")
            ends |= {partition_key(builder.key_name(source), name): at for name, at in own.items()}
    return [
        PartitionOffsets(name, position, outside[name].offset if name in outside else None, ends.get(name))
        for name, position in known.items()
    ]


def move(application: Application, options: RunOptions, plan: JobPlan, to: str, dry_run: bool) -> dict[str, int]:
    """Send a job that keeps no state to other offsets of its topic; the new positions. The move is an epoch of its own.

    Of several workers each moves its own partitions, one after another. `to` is written like `startup`. Raises
    ConfigError for a job whose state would no longer be that of its records.
    """
    with builders_of(application, options, plan) as builders:
        _require_movable(builders[0])
        parts = [(builder.environment, _positions_at(builder, builder.source, to)) for builder in builders]
    for environment, positions in parts:
        if not dry_run:
            Job(plan, environment).move(positions)
    return {name: position for _, positions in parts for name, position in positions.items()}


def _require_movable(builder: JobBuilder) -> None:
    plan = builder.plan
    if not builder.source.connector.messages:
        raise ConfigError(
            f"the positions of {plan.name} cannot be moved: its source is {builder.source.connector}",
            "E3007",
            "`ferris state reset` lets it start over",
        )
    if cut(plan.plan).keeps_state:
        raise ConfigError(
            f"the positions of {plan.name} cannot be moved: its state holds the results of what it has read",
            "E3007",
            "`ferris state reset` lets it start over, at 'startup'",
        )


def _positions_at(builder: JobBuilder, of: SourceSettings, to: str) -> dict[str, int]:
    try:
        startup = parse_startup(to)
    except ValueError as error:
        raise ConfigError(f"--to {to}: {error}", "E3002") from None
    settings = kafka_source_settings(builder.source_context(of))
    source = KafkaSource(replace(settings, startup=startup, bounded=False), builder.blocks[of.spec.name])
    try:
        source.open({})
        return {name: integer(position) for name, position in source.reached().items()}
    finally:
        source.close()
