"""What of a job's settings does not go together, and is refused before anything starts."""

from __future__ import annotations

from ferrisstreams.config.resolve import Settings
from ferrisstreams.errors import ConfigError
from ferrisstreams.plan.nodes import Join, Sink, walk
from ferrisstreams.runtime.outputs import JobOutputs
from ferrisstreams.runtime.parallelism import check_parallelism


def check_settings(job: JobOutputs) -> None:
    """Raises ConfigError E3005 or E3006."""
    own, plan = job.settings.job, job.plan
    for source in job.sources:
        job.strategy(source)
    if own.optional_text("job.mode") == "exactly_once" and not job.settings.sink_connector.takes_back:
        prop = own.property("job.mode")
        raise ConfigError(
            f"{job.settings.sink_connector} cannot take back what was written: exactly_once is not possible",
            "E3005",
            "use 'job.mode' = 'at_least_once', or a file",
            prop.position if prop else None,
        )
    changes = plan.plan.headers
    if changes and not job.settings.sink_connector.messages:
        raise ConfigError(
            f"the header {changes[0].name} cannot be written: the output has no headers",
            "E3005",
            "write to a topic ('connector' = 'kafka'), or leave the item out",
            changes[0].position,
        )
    for source in job.sources:
        _check_lateness(source.values, plan.plan)
    strategies = {source.values.text("late.data.strategy"): source for source in job.sources}
    if len(strategies) > 1 and job.windowed:
        raise ConfigError(
            f"the sources of {plan.name} have different strategies for late rows: {', '.join(strategies)}",
            "E3005",
            "give all the same 'late.data.strategy'",
            next(reversed(strategies.values())).spec.position,
        )
    if job.environment.stand_ins is None:
        several = job.parallelism > 1
        letters_in_file = several and job.needs_dead_letters and job.dead_letter_topic() is None
        check_parallelism(plan, job.settings, letters_in_file)
    if job.parallelism > 1:
        _check_workers(job)


def _check_lateness(source: Settings, plan: Sink) -> None:
    if source.text("late.data.strategy") != "update":
        return
    prop = source.property("late.data.strategy")
    position = prop.position if prop else None
    if any(isinstance(node, Join) and node.bound is not None for node in walk(plan)):
        raise ConfigError(
            "'late.data.strategy' = 'update' is not supported with a join bounded in time, which gives its rows once",
            "E3005",
            "drop late rows, or keep them by 'dead_letter'; with 'allowed.lateness' rows may come later",
            position,
        )
    if source.duration_ms("allowed.lateness") == 0:
        raise ConfigError(
            "'late.data.strategy' = 'update' without 'allowed.lateness' would never update",
            "E3005",
            "set 'allowed.lateness' to how late a row may be",
            position,
        )


def _check_workers(job: JobOutputs) -> None:
    """Raises ConfigError for what is not to be had with several workers."""
    prop = job.settings.job.property("parallelism")
    position = prop.position if prop is not None else None
    if job.environment.rows_max is not None:
        raise ConfigError(
            f"--max-records of {job.plan.name}, which has {job.parallelism} workers ('parallelism'): they cannot"
            " stop together at a record",
            "E3006",
            "leave one of them out: --set parallelism=1",
            position,
        )
    if job.transactions() is not None and not job.producer.source_topics:
        raise ConfigError(
            f"{job.plan.name} cannot have {job.parallelism} workers ('parallelism'): its topics are on two"
            " clusters, and each worker's positions are decided by its own partitions on the cluster of the output",
            "E3006",
            "leave 'parallelism' out, or use 'job.mode' = 'at_least_once'",
            position,
        )
