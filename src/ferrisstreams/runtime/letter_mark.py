"""How much of a file of dead letters is final: beside it, for those who read it while the job runs.

Letters behind the mark belong to an epoch that may yet be taken back, and then be written again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from ferrisstreams.batch import JsonValue
from ferrisstreams.durable_file import replace_text
from ferrisstreams.errors import FatalConnectorError

#: Behind the name of the file of letters: its mark, and what was done with its letters.
_MARK, _JOURNAL = COMPANIONS = (".mark", ".journal")


class LetterMark:
    """The mark beside the file of letters at `path`. The job writes it after each epoch that brought letters.

    `name` is the path as it stays when the application's folder is moved: relative to that, unless an absolute one was
    written. `former`: what it was called in states of before.
    """

    def __init__(self, path: Path, name: str, former: str | None = None) -> None:
        self._letters = path
        self._name = name
        self._names = {name, former or name}
        self._path = path.with_name(path.name + _MARK)
        self._written: JsonValue = None

    @property
    def journal_path(self) -> Path:
        """Where it is kept what was replayed and purged."""
        return self._letters.with_name(self._letters.name + _JOURNAL)

    def placed(self, mark: JsonValue) -> JsonValue:
        """The mark of a sink together with the file that it is of."""
        return {**mark, "file": self._name} if isinstance(mark, dict) else mark

    def covers(self, mark: JsonValue) -> bool:
        """Whether a mark is of this file, and not of another one, or a topic, that the letters went to under other
        settings."""
        return not isinstance(mark, dict) or ("length" in mark and mark.get("file", self._name) in self._names)

    def write(self, mark: JsonValue) -> None:
        """The epoch with this mark is final. A crash in the middle leaves the mark before, which is safe."""
        if mark == self._written:
            return
        try:
            replace_text(self._path, json.dumps(mark))
        except OSError as error:
            raise FatalConnectorError(
                f"{self._path} cannot be written: {error.strerror}",
                "E4003",
                "check the disk's free space and the permissions of the folder",
            ) from error
        self._written = mark

    def reset(self) -> None:
        """The letters start over: what was known of earlier ones goes away."""
        self._path.unlink(missing_ok=True)
        self.journal_path.unlink(missing_ok=True)
        self._written = None

    def length(self) -> int:
        """Bytes of the file that are final; 0 when the job has not said so of this file yet."""
        try:
            match json.loads(self._path.read_text("utf-8")):
                case {"length": int(length)} if length <= os.path.getsize(self._letters):
                    return length
        except (FileNotFoundError, ValueError):
            return 0
        return 0
