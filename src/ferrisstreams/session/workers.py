"""Several workers of one job, as the ways in see them: got ready before they start, and looked at one by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from ferrisstreams.config.values import Property
from ferrisstreams.connectors.kafka.topics import Topics, require_topic
from ferrisstreams.errors import ConfigError, StateError
from ferrisstreams.plan.nodes import JobPlan
from ferrisstreams.runtime.build import JobBuilder
from ferrisstreams.runtime.layout import read_layout
from ferrisstreams.runtime.observer import Silent
from ferrisstreams.runtime.parallelism import depends_on_partitions
from ferrisstreams.runtime.rescaling import settle_layout
from ferrisstreams.session.application import Application, RunOptions


def prepare_workers(application: Application, options: RunOptions, job: JobPlan) -> None:
    """What is to be done and refused before the first worker of a job starts.

    Raises ConfigError E3003 for more workers than partitions, StateError E5007 for a state of another parallelism.
    """
    builder = JobBuilder(job, application.environment(options, Silent()))
    try:
        partitions = _partitions(builder)
        settle_layout(builder, partitions if depends_on_partitions(job) else None)
    finally:
        builder.block.close()


def _partitions(builder: JobBuilder) -> int:
    """Those of the job's topic, which is made where the job may."""
    settings = builder.kafka_source_settings()
    topics = Topics(settings.properties, builder.environment.clock)
    found = topics.partitions(settings.topic)
    will_be = found if found is not None or settings.create is None else settings.create.partitions
    if will_be is not None and will_be < builder.parallelism:
        prop = builder.settings.job.property("parallelism")
        raise ConfigError(
            f"{builder.plan.name} cannot have {builder.parallelism} workers ('parallelism'): its topic"
            f" {settings.topic} has {will_be} partition{'s' * (will_be != 1)}, and a worker without one has nothing"
            " to do",
            "E3003",
            f"set 'parallelism' to {will_be} at most, or give the topic more partitions",
            prop.position if prop is not None else None,
        )
    return require_topic(topics, settings.topic, settings.create)


@contextmanager
def builders_of(
    application: Application, options: RunOptions, job: JobPlan, to_be_kept: bool = True
) -> Iterator[list[JobBuilder]]:
    """The components of each worker that the job's state is of, whatever `parallelism` is now; none of them opened.

    Raises StateError E5007 while it is not known of which workers a state that is `to_be_kept` is.
    """
    environment = application.environment(options, Silent())
    with ExitStack() as stack:
        whole = JobBuilder(job, replace(environment, worker=None))
        stack.callback(whole.block.close)
        layout = read_layout(whole.job_folder())
        workers = layout.workers if layout is not None else whole.parallelism
        if to_be_kept and layout is not None and layout.going_to is not None:
            raise StateError(
                f"a start of {job.name} with {layout.going_to} instead of {workers} workers was cut off",
                "E5007",
                "run it, with either 'parallelism': it goes on",
            )
        if workers == 1 == whole.parallelism:
            yield [whole]
            return
        overrides = {**environment.overrides, "parallelism": Property(workers, origin="state")}
        made = []
        for worker in range(workers):
            builder = JobBuilder(job, replace(environment, worker=worker, overrides=overrides))
            stack.callback(builder.block.close)
            made.append(builder)
        yield made
