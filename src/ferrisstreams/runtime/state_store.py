"""The state file's own rows: what it belongs to, and one row an epoch.

A commit that fails inside DuckDB can look like one that worked (see `docs/architecture.md`): `commit` therefore reads
its own row back.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass

from ferrisstreams.batch import integer
from ferrisstreams.duck.engine import STATE_SCHEMA, Connection
from ferrisstreams.duck.state_log import delete_after, take_over_panes
from ferrisstreams.errors import InternalError, StateError
from ferrisstreams.runtime.epoch import EpochRow

#: Raised whenever the tables of a state file mean something else than before.
FORMAT_VERSION = 4

#: What this version still reads. Both had one operator and an epoch to a tick; the first had a hash and a description
#: in the place of the identity.
_HASHED_VERSION, _ONE_OPERATOR_VERSION = 2, 3
_FORMER_VERSIONS = (_HASHED_VERSION, _ONE_OPERATOR_VERSION)

#: Made where they are not there, and not looked for: the first look at the catalog costs half of opening the engine.
_TABLES = (
    "epochs (epoch BIGINT, content VARCHAR, confirmed BOOLEAN)",
    "meta (format_version INTEGER, state_id VARCHAR, identity VARCHAR)",
)


@dataclass(frozen=True, slots=True)
class KeptIdentity:
    """What a state file says that it belongs to: an identity as JSON, or the hash and description of one before."""

    identity: str | None = None
    former_hash: str | None = None
    former_description: str = ""


@dataclass(frozen=True, slots=True)
class Meta:
    """What a state file says of itself."""

    state_id: str
    version: int
    kept: KeptIdentity

    @property
    def had_one_operator(self) -> bool:
        """Whether it is of a version whose states had one operator and an epoch to a tick."""
        return self.version in _FORMER_VERSIONS


def has_tables(state: Connection) -> bool:
    """Whether the file's first start came as far as its tables, without which nothing can be read."""
    names = [table.partition(" ")[0] for table in _TABLES]
    found = state.rows(f"SELECT table_name FROM duckdb_tables() WHERE database_name = '{STATE_SCHEMA}'")
    return {(name,) for name in names} <= set(found)


def read_meta(state: Connection) -> Meta | None:
    """None where the file belongs to no job yet. Raises StateError E5004."""
    found = state.rows(f"SELECT * FROM {STATE_SCHEMA}.meta")
    if not found:
        return None
    version, state_id, *identity = integer(found[0][0]), *found[0][1:]
    if version not in (FORMAT_VERSION, *_FORMER_VERSIONS):
        raise StateError(
            f"the state has format version {version}, this FerrisStreams reads version {FORMAT_VERSION}",
            "E5004",
            "run the version that wrote it, or start over with another --state-dir",
        )
    if version == _HASHED_VERSION:
        return Meta(str(state_id), version, KeptIdentity(None, str(identity[0]), str(identity[1])))
    return Meta(str(state_id), version, KeptIdentity(str(identity[0])))


def read_epochs(state: Connection, most: int, through: int | None = None) -> list[EpochRow]:
    """The last rows, the last one first; those `through` an epoch."""
    rows = state.rows(
        f"SELECT * FROM {STATE_SCHEMA}.epochs WHERE epoch <= coalesce($through, epoch) ORDER BY epoch DESC LIMIT $most",
        {"through": through, "most": most},
    )
    return [
        EpochRow.from_json(integer(epoch), json.loads(str(content)), bool(confirmed))
        for epoch, content, confirmed in rows
    ]


class StateStore:
    """Transactions and epochs on the state connection."""

    def __init__(self, state: Connection) -> None:
        self._state = state
        self._open = False
        self._next_identity: str | None = None
        self._version = FORMAT_VERSION
        self.state_id = ""

    def kept(self) -> KeptIdentity | None:
        """What the file belongs to; None when it is new: then `create` it. Raises StateError E5004."""
        for table in _TABLES:
            self._state.execute(f"CREATE TABLE IF NOT EXISTS {STATE_SCHEMA}.{table}")
        found = read_meta(self._state)
        if found is None:
            return None
        self.state_id, self._version = found.state_id, found.version
        return found.kept

    def create(self, identity: str) -> None:
        """Make the file that of an identity, under a new state id."""
        self.state_id = secrets.token_hex(8)
        self._write_meta(identity)

    @property
    def is_former(self) -> bool:
        """Whether a version before has written the file."""
        return self._version != FORMAT_VERSION

    def rewrite(self, identity: str) -> None:
        """The file belongs to this identity now, which means the same, and has the format of now; its id stays."""
        self.begin()
        if self.is_former:
            take_over_panes(self._state)
        self._write_meta(identity)
        self.finish()
        self._version = FORMAT_VERSION

    def begin_again(self, identity: str) -> None:
        """The next epoch is the first one of another query, to which the file belongs with it; its id stays. Nothing
        was read or written before."""
        self._next_identity = identity

    def _write_meta(self, identity: str) -> None:
        self._state.execute(
            f"CREATE OR REPLACE TABLE {STATE_SCHEMA}.meta AS"
            " SELECT CAST($version AS INTEGER) AS format_version, $id AS state_id, $identity AS identity",
            {"version": FORMAT_VERSION, "id": self.state_id, "identity": identity},
        )

    def last(self) -> EpochRow | None:
        return next(iter(read_epochs(self._state, 1)), None)

    def begin(self) -> None:
        """Open the epoch's transaction, once."""
        if not self._open:
            self._state.execute("BEGIN TRANSACTION")
            self._open = True

    def write(self, row: EpochRow) -> None:
        """Write the epoch row in its transaction, which `commit` makes final."""
        self.begin()
        if self._next_identity is not None:
            self._write_meta(self._next_identity)
            self._state.execute(f"DELETE FROM {STATE_SCHEMA}.epochs")
        self._state.execute(
            f"INSERT INTO {STATE_SCHEMA}.epochs VALUES ($epoch, $content, $confirmed)",
            {"epoch": row.epoch, "content": json.dumps(row.to_json()), "confirmed": row.confirmed},
        )

    def commit(self, epoch: int) -> None:
        """Commit the epoch's transaction and read its row back. After an error it is not known whether the epoch is
        kept: the process must stop and reconcile at start."""
        self.finish()
        self._next_identity = None
        # A third of what `last` costs, which sorts and reads the row.
        if self._state.rows(f"SELECT max(epoch) FROM {STATE_SCHEMA}.epochs") != [(epoch,)]:
            raise InternalError(f"the state's COMMIT of epoch {epoch} kept nothing")

    def confirm(self, epoch: int) -> None:
        """Write down, in the open transaction, that the epoch is final."""
        self._state.execute(f"UPDATE {STATE_SCHEMA}.epochs SET confirmed = true WHERE epoch = $epoch", {"epoch": epoch})

    def delete(self, epoch: int) -> None:
        """Take the last epoch, which was prepared and not decided, back: its row and its rows in all panes."""
        last = self.last()
        if last is None or last.epoch != epoch:
            raise InternalError(f"epoch {epoch} is not the last one of the state")
        self.begin()
        delete_after(self._state, integer(last.pipeline.get("decided_tick", 0)))
        self._state.execute(f"DELETE FROM {STATE_SCHEMA}.epochs WHERE epoch = $epoch", {"epoch": epoch})
        self.finish()

    def become(self, state_id: str, row: EpochRow) -> None:
        """Take another identity: the state of this id, whose only epoch is `row`."""
        self.begin()
        self._state.execute(f"UPDATE {STATE_SCHEMA}.meta SET state_id = $id", {"id": state_id})
        self._state.execute(f"DELETE FROM {STATE_SCHEMA}.epochs")
        self.state_id = state_id
        self.write(row)
        self.commit(row.epoch)

    def forget_before(self, epoch: int) -> None:
        """Delete the rows of older epochs."""
        self._state.execute(f"DELETE FROM {STATE_SCHEMA}.epochs WHERE epoch < $epoch", {"epoch": epoch})

    def finish(self) -> None:
        """Commit the open transaction."""
        if self._open:
            self._open = False  # also when COMMIT raises: it has ended the transaction
            self._state.execute("COMMIT")

    def rollback(self) -> None:
        """Take back everything since the last commit."""
        if self._open:
            self._open = False
            self._state.rollback()
