"""Names that a job has outside: its folder, its files. See `docs/identities.md`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ferrisstreams.connectors.kafka.share import Share
from ferrisstreams.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,199}")

#: Folder of all state, beside the application file, unless `state.dir` says otherwise.
STATE_DIR = ".ferris"

STATE_FILE = "state.duckdb"


def require_name(kind: str, name: str) -> None:
    """Raises ConfigError E3002 for the name of an application or job that could not be part of a path."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"the {kind} name '{name}' cannot name a folder",
            "E3002",
            "use letters, digits, _, - and . (@app names the application, @name a job)",
        )


@dataclass(frozen=True, slots=True)
class JobIdentity:
    """Application and job; both are parts of paths and of topic names, so both are plain names."""

    application: str
    job: str

    def __post_init__(self) -> None:
        require_name("application", self.application)
        require_name("job", self.job)

    def folder(self, root: Path) -> Path:
        """The job's folder of state."""
        return root / self.application / self.job

    @property
    def dead_letter_file(self) -> str:
        """The default name of the file of dead letters."""
        return f"{self.application}.{self.job}.dlq.jsonl"

    @property
    def group(self) -> str:
        """The Kafka group that the job's positions are committed to."""
        return f"{self.application}.{self.job}"

    def transactional_id(self, share: Share) -> str:
        """That of one worker; the same in every run. No job's name has a slash in it."""
        return self.group if share.workers == 1 else f"{self.group}/{share.worker}"

    @property
    def dead_letter_topic(self) -> str:
        """The default name of the topic of dead letters."""
        return f"{self.application}.{self.job}.dlq"

    @property
    def sent_journal_topic(self) -> str:
        """Of letters in a file: the topic of the journal of those whose records went to a topic."""
        return f"{self.dead_letter_file}.journal"
