"""Names of a source's files: their paths relative to the source's folder, which stay when that folder is moved."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FileNames:
    """`pattern` is the absolute path of the source: a file or a glob."""

    pattern: str

    @property
    def folder(self) -> str:
        """The folder above the first part of the pattern that is not fixed."""
        folder = os.path.dirname(self.pattern)
        while glob.has_magic(folder):
            folder = os.path.dirname(folder)
        return folder

    @property
    def is_glob(self) -> bool:
        return glob.has_magic(self.pattern) and not os.path.exists(self.pattern)

    def name(self, path: str) -> str:
        return os.path.relpath(path, self.folder)

    def path(self, name: str) -> str:
        """Where the file of this name is. An absolute one is of a state that was written when positions had those: then
        the name is its last parts, as many as the pattern has below the folder."""
        if not os.path.isabs(name):
            return os.path.join(self.folder, name)
        if not self.name(name).startswith(os.pardir):
            return os.path.join(self.folder, self.name(name))
        parts = Path(name).parts[1:]
        pattern = Path(self.name(self.pattern)).parts
        if "**" in pattern:
            suffixes = (os.path.join(self.folder, *parts[start:]) for start in range(len(parts)))
            found = next(filter(os.path.exists, suffixes), None)
            return found if found is not None else os.path.join(self.folder, parts[-1])
        return os.path.join(self.folder, *parts[-len(pattern) :])
