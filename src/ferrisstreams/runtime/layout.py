"""Where the workers of a job keep their state, in the job's folder.

One worker keeps it in the folder itself, until the job has had several; of several each has `workers-<n>/<worker>/`.
The file `workers.json` says which of them are the job's. It is replaced as a whole: that is the moment at which another
number of workers takes over.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from ferrisstreams.connectors.kafka.share import Share
from ferrisstreams.errors import StateError
from ferrisstreams.runtime.identity import STATE_FILE

LAYOUT_FILE = "workers.json"


@dataclass(frozen=True, slots=True)
class Layout:
    """How many workers the state is of. `partitions`: those of the topic, where keys were dealt by them; else None."""

    workers: int
    partitions: int | None = None


def read_layout(folder: Path) -> Layout | None:
    """The layout of a job's folder; None: there is no state. Raises StateError E5005."""
    path = folder / LAYOUT_FILE
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return Layout(1) if (folder / STATE_FILE).exists() else None
    except OSError as error:
        raise _unreadable(path, str(error.strerror)) from error
    try:
        found = json.loads(text)
        return Layout(int(found["workers"]), found["partitions"])
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable(path, f"it holds {text[:100]!r}") from error


def holds_state(folder: Path, layout: Layout) -> bool:
    """Whether any of the layout's workers keeps a state."""
    shares = (Share(worker, layout.workers) for worker in range(layout.workers))
    return any((worker_folder(folder, share) / STATE_FILE).exists() for share in shares)


def write_layout(folder: Path, layout: Layout) -> None:
    """Durably, and as a whole. Raises StateError E5005."""
    path = folder / LAYOUT_FILE
    new = path.with_name(f"{LAYOUT_FILE}.new")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with new.open("w", encoding="utf-8") as file:
            json.dump(asdict(layout), file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise StateError(
            f"{path} cannot be written: {error.strerror}", "E5005", "give --state-dir a folder that can be written"
        ) from error


def worker_folder(folder: Path, share: Share) -> Path:
    """The folder of one worker's state."""
    if share.workers == 1 and not (folder / LAYOUT_FILE).exists():
        return folder
    return folder / f"workers-{share.workers}" / str(share.worker)


def _unreadable(path: Path, why: str) -> StateError:
    return StateError(
        f"{path} does not say how many workers the state is of: {why}", "E5005", "bring the file back, or reset the job"
    )
