"""What is known of a job before anything is opened: its settings and policies, its share, its folders."""

from __future__ import annotations

from pathlib import Path

from ferrisstreams.config.resolve import Settings
from ferrisstreams.connectors.connector import SourceContext
from ferrisstreams.connectors.kafka.share import WHOLE, Share
from ferrisstreams.errors import ConfigError, placed_at
from ferrisstreams.plan.nodes import JobPlan
from ferrisstreams.plan.stages import cut
from ferrisstreams.plan.system_columns import RECORD_TIME
from ferrisstreams.runtime.batching import Strategy, choose_strategy
from ferrisstreams.runtime.environment import Environment
from ferrisstreams.runtime.failures import FailurePolicy
from ferrisstreams.runtime.identity import JobIdentity, require_name
from ferrisstreams.runtime.layout import read_layout, worker_folder
from ferrisstreams.runtime.settings import JobSettings, SourceSettings, failure_policy, settings_of


class JobFacts:
    """Of one job, or of one of its workers.

    `parallelism` is how many workers the job has, `share` what this one reads of a topic. Without a worker's number
    that is all of it, which is for looking at the job and not for running it.
    """

    def __init__(self, plan: JobPlan, environment: Environment) -> None:
        self.plan = plan
        self.environment = environment
        written = plan.annotations.get("name")
        with placed_at(written.position if written is not None else plan.position):
            require_name("job", plan.name)
        self.identity = JobIdentity(environment.application, plan.name)
        self.graph = cut(plan.plan)
        self.settings: JobSettings = settings_of(plan, self.graph.sources, environment.overrides)
        # What stands in for a topic has no partitions that could be dealt: one task reads it.
        alone = environment.stand_ins is not None
        self.parallelism = 1 if alone else self.settings.job.integer("parallelism")
        self.share = WHOLE if environment.worker is None else Share(environment.worker, self.parallelism)

    # --- sources ----------------------------------------------------------------------------------------------------

    @property
    def sources(self) -> tuple[SourceSettings, ...]:
        """What the job reads, in the order in which the query names it."""
        return self.settings.sources

    @property
    def source(self) -> SourceSettings:
        """That of a job that reads one. Raises ConfigError E3007 for others."""
        if len(self.sources) > 1:
            names = ", ".join(source.spec.name for source in self.sources)
            raise ConfigError(
                f"{self.plan.name} reads several sources ({names}), and this is for jobs that read one",
                "E3007",
                "write one stream for each source, and read those",
                self.plan.position,
            )
        return self.sources[0]

    def key_name(self, source: SourceSettings) -> str:
        """The source's part of the names of its partitions; empty for an only one."""
        return source.spec.name if len(self.sources) > 1 else ""

    def scans_of(self, source: SourceSettings) -> dict[int, str]:
        """Which scans of the query read a source, and what each is called."""
        scans = [place for place, scan in enumerate(self.graph.scans) if scan.source.name == source.spec.name]
        names = [
            source.spec.name if not number else f"{source.spec.name} ({number + 1})" for number in range(len(scans))
        ]
        return dict(zip(scans, names, strict=True))

    def source_context(self, source: SourceSettings | None = None) -> SourceContext:
        """What the connector makes a source of; without one, that of a job that reads one."""
        source = source or self.source
        environment = self.environment
        layout = read_layout(self.job_folder()) if self.share.workers > 1 else None
        read = [column for scan in self.graph.scans for column in self.graph.system_columns(scan)]
        timed = any(column.name == RECORD_TIME for column in read)
        return SourceContext(
            name=source.spec.name,
            settings=source.values,
            folder=environment.folder,
            position=source.spec.position,
            clock=environment.clock,
            group=self.identity.group,
            once=environment.once,
            while_open=environment.while_open,
            share=self.share,
            partitions=layout.partitions if layout is not None else None,
            timestamps=timed or self.needs_dead_letters,
            in_memory=environment.memory_sources,
        )

    @property
    def is_endless(self) -> bool:
        """Whether more may come of a source, also after it has said that it ended: of a topic, `--once` reads what is
        there."""
        if self.environment.stand_ins is not None:
            return False
        return any(source.connector.is_endless(source.values) for source in self.sources)

    def stops_when_caught_up(self, source: SourceSettings) -> bool:
        """Whether `--once` ends when a source gives nothing at the moment."""
        return source.connector.is_done_when_caught_up(source.values)

    def strategy(self, source: SourceSettings) -> Strategy:
        """What ends a batch of a source. Raises ConfigError E3005 for keys of another strategy."""
        return choose_strategy(source.values, source.connector.source_kind(source.values), self.stateless)

    @property
    def stateless(self) -> bool:
        """Whether the plan keeps no state: kept rows are emitted at once."""
        return not self.graph.keeps_state

    @property
    def windowed(self) -> bool:
        """Whether results wait for the watermark."""
        return self.graph.is_windowed

    @property
    def needs_dead_letters(self) -> bool:
        """Whether any strategy may send a row to the dead letters."""
        inputs = any(
            self.input_failures(source).route == "dlq" or source.values.text("late.data.strategy") == "dead_letter"
            for source in self.sources
        )
        return inputs or self.output_failures.route == "dlq"

    def input_failures(self, source: SourceSettings) -> FailurePolicy:
        """What becomes of a row of a source that fails."""
        return self._failures(source.values)

    @property
    def output_failures(self) -> FailurePolicy:
        """What becomes of a row that cannot be written."""
        return self._failures(self.settings.sink)

    def is_strict(self) -> bool:
        """Whether a row that fails stops the job, although no strategy says so."""
        sides = (*(source.values for source in self.sources), self.settings.sink)
        return self._stops_bounded and not all(side.given("failure_strategy") for side in sides)

    def _failures(self, side: Settings) -> FailurePolicy:
        if self._stops_bounded and not side.given("failure_strategy"):
            return FailurePolicy("fail")
        return failure_policy(side)

    @property
    def _stops_bounded(self) -> bool:
        endless = any(source.connector.is_endless(source.values) for source in self.sources)
        return self.environment.strict and (self.environment.once or not endless)

    # --- folders ----------------------------------------------------------------------------------------------------

    def job_folder(self) -> Path:
        """The folder of all that the job keeps."""
        given = self.settings.job.optional_text("state.dir")
        root = (self.environment.folder / given).absolute() if given else self.environment.state_root
        assert root is not None, "the job keeps its state in memory"
        return self.identity.folder(root)

    def state_folder(self) -> Path:
        """The folder of the state; of several workers that of this one."""
        return worker_folder(self.job_folder(), self.share)
