"""Where the workers of a job keep their state, in the job's folder.

One worker keeps it in the folder itself, until the job has had several; of several each has `workers-<n>/<worker>/`.
The file `workers.json` says which of them are the job's. It is replaced as a whole: that is the moment at which another
number of workers takes over.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from ferrisstreams.connectors.kafka.share import Share
from ferrisstreams.durable_file import replace_text
from ferrisstreams.errors import StateError
from ferrisstreams.runtime.door_name import DOOR_FILE
from ferrisstreams.runtime.identity import STATE_FILE

LAYOUT_FILE = "workers.json"


@dataclass(frozen=True, slots=True)
class Layout:
    """How many workers the state is of. `partitions`: those of the topic, where keys were dealt by them; else None.

    `going_to`: how many workers are taking over, while it is not known whether they have.
    """

    workers: int
    partitions: int | None = None
    going_to: int | None = None

    @property
    def shares(self) -> list[Share]:
        """Those of its workers."""
        return [Share(worker, self.workers) for worker in range(self.workers)]


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
        return Layout(int(found["workers"]), found["partitions"], found["going_to"])
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable(path, f"it holds {text[:100]!r}") from error


def holds_state(folder: Path, layout: Layout) -> bool:
    """Whether any of the layout's workers keeps a state."""
    return any((worker_folder(folder, share) / STATE_FILE).exists() for share in layout.shares)


def write_layout(folder: Path, layout: Layout) -> None:
    """Durably, and as a whole. Raises StateError E5005."""
    path = folder / LAYOUT_FILE
    try:
        replace_text(path, json.dumps(asdict(layout)))
    except OSError as error:
        raise StateError(
            f"{path} cannot be written: {error.strerror}", "E5005", "give --state-dir a folder that can be written"
        ) from error


def worker_folder(folder: Path, share: Share) -> Path:
    """The folder of one worker's state."""
    own = workers_folder(folder, share.workers)
    return folder if share.workers == 1 and not own.exists() else own / str(share.worker)


def workers_folder(folder: Path, workers: int) -> Path:
    """The folder of the states of so many workers; an only one has it when there were several before."""
    return folder / f"workers-{workers}"


def others(folder: Path, layout: Layout) -> list[Path]:
    """What lies in a job's folder of states that are not the layout's."""
    own = workers_folder(folder, layout.workers)
    found = [path for path in folder.glob("workers-*") if path != own]
    if layout.workers > 1 or own.exists():
        found += [folder / name for name in (STATE_FILE, f"{STATE_FILE}.wal", "spill", DOOR_FILE)]
    return [path for path in found if path.exists()]


def delete(paths: list[Path]) -> None:
    """Files, and folders with all that is in them."""
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def give_back_layout(folder: Path) -> None:
    """Delete a layout whose workers keep no state, and the folders that are empty then."""
    layout = read_layout(folder)
    if layout is None or layout.going_to is not None or holds_state(folder, layout):
        return
    (folder / LAYOUT_FILE).unlink()
    delete([path for path in [workers_folder(folder, layout.workers)] if path.exists()])
    for empty in (folder, *folder.parents[:2]):
        if any(empty.iterdir()):
            return
        empty.rmdir()


def _unreadable(path: Path, why: str) -> StateError:
    return StateError(
        f"{path} does not say how many workers the state is of: {why}", "E5005", "bring the file back, or reset the job"
    )
