"""What is known of a job before anything is opened: its settings and policies, its share, its folders."""

from __future__ import annotations

from pathlib import Path

from ferrisstreams.config.resolve import Settings
from ferrisstreams.connectors.connector import SourceContext
from ferrisstreams.connectors.kafka.share import WHOLE, Share
from ferrisstreams.errors import placed_at
from ferrisstreams.plan.nodes import JobPlan, SourceSpec
from ferrisstreams.plan.stages import cut
from ferrisstreams.plan.system_columns import RECORD_TIME
from ferrisstreams.runtime.batching import Strategy, choose_strategy
from ferrisstreams.runtime.environment import Environment
from ferrisstreams.runtime.failures import FailurePolicy
from ferrisstreams.runtime.identity import JobIdentity, require_name
from ferrisstreams.runtime.layout import read_layout, worker_folder
from ferrisstreams.runtime.settings import JobSettings, failure_policy, settings_of


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
        self.spec: SourceSpec = self.graph.scan.source
        self.settings: JobSettings = settings_of(plan, self.spec, environment.overrides)
        # What stands in for a topic has no partitions that could be dealt: one task reads it.
        alone = environment.stand_ins is not None
        self.parallelism = 1 if alone else self.settings.job.integer("parallelism")
        self.share = WHOLE if environment.worker is None else Share(environment.worker, self.parallelism)

    # --- source -----------------------------------------------------------------------------------------------------

    def source_context(self) -> SourceContext:
        """What the connector makes the source of."""
        environment = self.environment
        layout = read_layout(self.job_folder()) if self.share.workers > 1 else None
        timed = any(column.name == RECORD_TIME for column in self.graph.system_columns)
        return SourceContext(
            name=self.spec.name,
            settings=self.settings.source,
            folder=environment.folder,
            position=self.spec.position,
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
        """Whether more may come of the source, also after it has said that it ended: of a topic, `--once` reads what is
        there."""
        return self.environment.stand_ins is None and self.settings.source_connector.is_endless(self.settings.source)

    @property
    def stops_when_caught_up(self) -> bool:
        """Whether `--once` ends when the source gives nothing at the moment."""
        return self.settings.source_connector.is_done_when_caught_up(self.settings.source)

    def strategy(self) -> Strategy:
        """What ends a batch. Raises ConfigError E3005 for keys of another strategy."""
        source = self.settings.source
        return choose_strategy(source, self.settings.source_connector.source_kind(source), self.stateless)

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
        return "dlq" in (self.input_failures.route, self.output_failures.route) or (
            self.settings.source.text("late.data.strategy") == "dead_letter"
        )

    @property
    def input_failures(self) -> FailurePolicy:
        """What becomes of a row of the source that fails."""
        return self._failures(self.settings.source)

    @property
    def output_failures(self) -> FailurePolicy:
        """What becomes of a row that cannot be written."""
        return self._failures(self.settings.sink)

    def is_strict(self) -> bool:
        """Whether a row that fails stops the job, although no strategy says so."""
        sides = (self.settings.source, self.settings.sink)
        return self._stops_bounded and not all(side.given("failure_strategy") for side in sides)

    def _failures(self, side: Settings) -> FailurePolicy:
        if self._stops_bounded and not side.given("failure_strategy"):
            return FailurePolicy("fail")
        return failure_policy(side)

    @property
    def _stops_bounded(self) -> bool:
        endless = self.settings.source_connector.is_endless(self.settings.source)
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
