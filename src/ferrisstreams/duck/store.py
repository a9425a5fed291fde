"""The state file's own rows: what it belongs to, and one row an epoch.

A commit that fails inside DuckDB can look like one that worked (see `docs/architecture.md`): `commit` therefore reads
its own row back.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass

from ferrisstreams.batch import JsonValue
from ferrisstreams.duck.engine import STATE_SCHEMA, Connection
from ferrisstreams.duck.state_log import delete_epoch
from ferrisstreams.errors import InternalError, StateError

#: Raised whenever the tables of a state file mean something else than before.
FORMAT_VERSION = 2


_TABLES = f"SELECT table_name FROM duckdb_tables() WHERE database_name = '{STATE_SCHEMA}' AND table_name = 'epochs'"


@dataclass(frozen=True, slots=True)
class EpochRow:
    """An epoch: its number and all that it made durable (positions, watermarks, ledger, marks), as JSON.

    `confirmed`: it is known to be final. The last row of a job whose epochs an outside system decides may not be.
    """

    epoch: int
    content: dict[str, JsonValue]
    confirmed: bool = True


def mapping_of(value: JsonValue) -> dict[str, JsonValue]:
    """A part of an epoch row that is a mapping. Raises InternalError."""
    if not isinstance(value, dict):
        raise InternalError(f"an epoch row holds {value!r} where a mapping belongs")
    return value


class StateStore:
    """Transactions and epochs on the state connection."""

    def __init__(self, state: Connection) -> None:
        self._state = state
        self._open = False
        self.state_id = ""

    def load(self, fingerprint: str, description: str) -> EpochRow | None:
        """Create or check the file; the last epoch, or None when the state is new.

        Raises StateError when the file belongs to another plan (E5002) or has another format version (E5004).
        """
        self._state.execute(
            f"CREATE TABLE IF NOT EXISTS {STATE_SCHEMA}.meta"
            " (format_version INTEGER, state_id VARCHAR, fingerprint VARCHAR, description VARCHAR)"
        )
        self._state.execute(
            f"CREATE TABLE IF NOT EXISTS {STATE_SCHEMA}.epochs (epoch BIGINT, content VARCHAR, confirmed BOOLEAN)"
        )
        found = self._state.rows(f"SELECT * FROM {STATE_SCHEMA}.meta")
        if not found:
            self.state_id = secrets.token_hex(8)
            self._state.execute(
                f"INSERT INTO {STATE_SCHEMA}.meta VALUES ($version, $id, $fingerprint, $description)",
                {
                    "version": FORMAT_VERSION,
                    "id": self.state_id,
                    "fingerprint": fingerprint,
                    "description": description,
                },
            )
            return None
        version, state_id, kept, kept_description = found[0]
        self.state_id = str(state_id)
        self._check(int(str(version)), (str(kept), str(kept_description)), (fingerprint, description))
        return self.last()

    def _check(self, version: int, kept: tuple[str, str], now: tuple[str, str]) -> None:
        if version != FORMAT_VERSION:
            raise StateError(
                f"the state has format version {version}, this FerrisStreams reads version {FORMAT_VERSION}",
                "E5004",
                "run the version that wrote it, or begin anew with another --state-dir",
            )
        if kept[0] != now[0]:
            raise StateError(
                f"the state belongs to another plan:\n  kept: {kept[1]}\n  now:  {now[1]}",
                "E5002",
                "give the changed query another name (@name), begin anew with another --state-dir, or delete the"
                " job's state folder",
            )

    def is_empty(self) -> bool:
        """Whether nothing was ever kept: there is no epoch. `load` need not have been called."""
        return not self._state.rows(_TABLES) or self.last() is None

    def last(self) -> EpochRow | None:
        """The last epoch."""
        rows = self._state.rows(f"SELECT * FROM {STATE_SCHEMA}.epochs ORDER BY epoch DESC LIMIT 1")
        return EpochRow(int(str(rows[0][0])), json.loads(str(rows[0][1])), bool(rows[0][2])) if rows else None

    def begin(self) -> None:
        """Open the epoch's transaction, once."""
        if not self._open:
            self._state.execute("BEGIN TRANSACTION")
            self._open = True

    def commit(self, row: EpochRow) -> None:
        """Write the epoch row, commit, read it back. After an error the process must stop and reconcile at start."""
        self.begin()
        self._state.execute(
            f"INSERT INTO {STATE_SCHEMA}.epochs VALUES ($epoch, $content, $confirmed)",
            {"epoch": row.epoch, "content": json.dumps(row.content), "confirmed": row.confirmed},
        )
        self._state.execute("COMMIT")
        self._open = False
        # A third of what `last` costs, which sorts and reads the row.
        if self._state.rows(f"SELECT max(epoch) FROM {STATE_SCHEMA}.epochs") != [(row.epoch,)]:
            raise InternalError(f"the state's COMMIT of epoch {row.epoch} kept nothing")

    def confirm(self, epoch: int) -> None:
        """Write down, in the open transaction, that the epoch is final."""
        self._state.execute(f"UPDATE {STATE_SCHEMA}.epochs SET confirmed = true WHERE epoch = $epoch", {"epoch": epoch})

    def delete(self, epoch: int) -> None:
        """Take an epoch that was prepared and not decided back: its row and its rows in all panes."""
        self.begin()
        delete_epoch(self._state, epoch)
        self._state.execute(f"DELETE FROM {STATE_SCHEMA}.epochs WHERE epoch = $epoch", {"epoch": epoch})
        self.finish()

    def become(self, state_id: str, row: EpochRow) -> None:
        """Take another identity: the state of this id, whose only epoch is `row`."""
        self.begin()
        self._state.execute(f"UPDATE {STATE_SCHEMA}.meta SET state_id = $id", {"id": state_id})
        self._state.execute(f"DELETE FROM {STATE_SCHEMA}.epochs")
        self.state_id = state_id
        self.commit(row)

    def forget_before(self, epoch: int) -> None:
        """Delete the rows of older epochs."""
        self._state.execute(f"DELETE FROM {STATE_SCHEMA}.epochs WHERE epoch < $epoch", {"epoch": epoch})

    def finish(self) -> None:
        """Commit a transaction that holds no epoch row (reclaiming)."""
        if self._open:
            self._state.execute("COMMIT")
            self._open = False

    def rollback(self) -> None:
        """Take back everything since the last commit."""
        if self._open:
            self._state.execute("ROLLBACK")
            self._open = False
