"""Small files that are replaced as a whole, and stay replaced when the machine goes down."""

from __future__ import annotations

import os
from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Write a file and make it durable, its name too: whoever reads sees all of it or what was there before.

    It keeps its rights; the folder is made when it is not there. Raises OSError, and leaves nothing behind then.
    """
    pending = path.with_name(f"{path.name}.pending")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with pending.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            pending.chmod(path.stat().st_mode)
        pending.replace(path)
    except OSError:
        pending.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: str | Path) -> None:
    """Make the names in a folder durable, not only the files' bytes. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
