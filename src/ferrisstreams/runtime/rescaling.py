"""A job that is started with another parallelism than its state is of."""

from __future__ import annotations

from ferrisstreams.errors import StateError
from ferrisstreams.runtime.build import JobBuilder
from ferrisstreams.runtime.layout import Layout, holds_state, read_layout, write_layout


def settle_layout(builder: JobBuilder, partitions: int | None = None) -> None:
    """Make the job's folder that of so many workers as the job has. Called before any of them starts.

    `partitions`: those of the topic that the state is dealt by. Raises StateError E5007 where that cannot be.
    """
    folder = builder.job_folder()
    kept, wanted = read_layout(folder), Layout(builder.parallelism, partitions)
    # A first start that was refused leaves no state behind, and then nothing of it counts.
    if kept is None or not holds_state(folder, kept):
        if wanted.workers > 1 or kept is not None:
            write_layout(folder, wanted)
    elif kept.workers != wanted.workers:
        raise _refused(builder, kept.workers)


def _refused(builder: JobBuilder, kept: int) -> StateError:
    name, wanted = builder.plan.name, builder.parallelism
    return StateError(
        f"the state of {name} is of {_workers(kept)}, and 'parallelism' is {wanted} now",
        "E5007",
        f"run it with --set parallelism={kept}, or let it begin anew with `ferris state reset`, which writes again what"
        " is written already",
    )


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"
