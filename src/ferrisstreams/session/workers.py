"""Several workers of one job, as the ways in see them: got ready before they start, and looked at one by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from ferrisstreams.connectors.kafka.settings import kafka_source_settings
from ferrisstreams.connectors.kafka.source import KafkaSource
from ferrisstreams.connectors.kafka.topics import Topics, require_topic
from ferrisstreams.errors import ConfigError, ConnectorError, StateError
from ferrisstreams.plan.nodes import JobPlan
from ferrisstreams.runtime.build import JobBuilder
from ferrisstreams.runtime.guard import guards_of
from ferrisstreams.runtime.layout import give_back_layout, read_layout
from ferrisstreams.runtime.observer import Observer, Silent
from ferrisstreams.runtime.parallelism import depends_on_partitions
from ferrisstreams.runtime.reopening import Reopening
from ferrisstreams.runtime.rescaling import settle_layout
from ferrisstreams.session.application import Application, RunOptions


def prepare_workers(application: Application, options: RunOptions, job: JobPlan, observer: Observer) -> None:
    """What is to be done and refused before the first worker of a job starts. A broker that is away is waited for as
    the settings say.

    Raises ConfigError E3006 for more workers than partitions, StateError E5007 for a state of another parallelism.
    """
    environment = application.environment(options, observer)
    builder = JobBuilder(job, environment)
    reopening = Reopening(
        guards_of(job.name, builder.settings, environment.clock, observer), environment.clock, observer
    )
    try:
        while not _is_prepared(builder, reopening):
            pass
    finally:
        builder.close()


def _is_prepared(builder: JobBuilder, reopening: Reopening) -> bool:
    """False: an outside system has failed, and may be asked again now."""
    try:
        partitions = _partitions(builder)
        settle_layout(builder, partitions if depends_on_partitions(builder.plan) else None)
    except ConnectorError as error:
        reopening.wait(builder.plan.name, error, 0)
        return False
    return True


def give_back(application: Application, options: RunOptions, job: JobPlan) -> None:
    """After workers have failed: when their first start was refused, nothing of it is left behind."""
    give_back_layout(JobBuilder(job, application.environment(options, Silent())).job_folder())


def _partitions(builder: JobBuilder) -> int:
    """Those of the job's topic, which is made where the job may."""
    settings = kafka_source_settings(builder.source_context())
    source = KafkaSource(settings, builder.blocks[builder.source.spec.name], builder.environment.clock)
    try:
        found = source.count_partitions()
    finally:
        source.close()
    will_be = settings.create.partitions if not found and settings.create is not None else found
    if 0 < will_be < builder.parallelism:
        prop = builder.settings.job.property("parallelism")
        raise ConfigError(
            f"{builder.plan.name} cannot have {builder.parallelism} workers ('parallelism'): its topic"
            f" {settings.topic} has {will_be} partition{'s' * (will_be != 1)}, and a worker without one has nothing"
            " to do",
            "E3006",
            f"set 'parallelism' to {will_be} at most, or give the topic more partitions",
            prop.position if prop is not None else None,
        )
    topics = Topics(settings.properties, builder.environment.clock)
    return found or require_topic(topics, settings.topic, settings.create)


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
        stack.callback(whole.close)
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
        made = [whole.for_worker(worker, workers) for worker in range(workers)]
        for builder in made:
            stack.callback(builder.close)
        yield made
