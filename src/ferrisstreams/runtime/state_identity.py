"""Whether a job's state is that of its query: the identity that was kept beside that of the query now."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING

from ferrisstreams.batch import JsonValue
from ferrisstreams.config.formats import changes_of, format_of
from ferrisstreams.connectors.file import encoding_of, has_header
from ferrisstreams.errors import StateError
from ferrisstreams.plan.fingerprint import fingerprint
from ferrisstreams.plan.identity import Identity, SourceFacts, identity_of, reorder_like
from ferrisstreams.plan.identity_differences import differences
from ferrisstreams.plan.nodes import Sink
from ferrisstreams.runtime.build import JobBuilder
from ferrisstreams.runtime.epoch import EpochRow
from ferrisstreams.runtime.settings import SourceSettings
from ferrisstreams.runtime.state_store import KeptIdentity, StateStore

if TYPE_CHECKING:
    from ferrisstreams.runtime.state_reading import AtEpoch


@dataclass(frozen=True, slots=True)
class LoadedState:
    """`last` is the last epoch, None when the state is new; `plan` the job's, in the order in which the state has its
    keys and calls. `begins_again`: the state is that of another query, which has read nothing."""

    last: EpochRow | None
    plan: Sink
    begins_again: bool = False


def load_state(store: StateStore, builder: JobBuilder, rewrite: bool = True) -> LoadedState:
    """Create or check the state of a job. `rewrite`: what carries over is kept as it is now.

    Raises StateError: it is that of another query (E5002), or of another format (E5004).
    """
    plan = builder.plan.plan
    facts = source_facts(builder)
    now = identity_of(plan, facts)
    kept = store.kept()
    if kept is None:
        store.create(json.dumps(now))
        return LoadedState(None, plan)
    last = store.last()
    if last is not None:
        try:
            plan = _reconciled(builder, kept, last, now)
        except StateError:
            if not last.has_only_begun:
                raise
            store.begin_again(json.dumps(now))
            return LoadedState(last, plan, begins_again=True)
        now = identity_of(plan, facts)
    if rewrite and (store.is_former or kept.identity != json.dumps(now)):
        store.rewrite(json.dumps(now))
    return LoadedState(last, plan)


def require_same_query(builder: JobBuilder, kept: KeptIdentity, last: AtEpoch | None) -> None:
    """What `load_state` refuses of a state that is only looked at."""
    if last is not None and not last.row.has_only_begun:
        _reconciled(builder, kept, last.row, identity_of(builder.plan.plan, source_facts(builder)))


def _reconciled(builder: JobBuilder, kept: KeptIdentity, last: EpochRow, now: Identity) -> Sink:
    plan = builder.plan.plan
    if kept.identity is None:
        if kept.former_hash != fingerprint(plan):
            what = f"  it was: {kept.former_description}\n  what differs is not known: an older version wrote it"
            raise _another_query(builder, what)
        return plan
    before: Identity = json.loads(kept.identity)
    found = differences(before, now, _same_data(builder, last))
    if found:
        raise _another_query(builder, "\n".join(f"  {difference}" for difference in found))
    return reorder_like(plan, before)


def _another_query(builder: JobBuilder, what: str) -> StateError:
    name = builder.plan.name
    return StateError(
        f"the saved state of {name} was written by a different version of this query:\n{what}",
        "E5002",
        f"undo the change; or give the query another name (-- @name: {name}_2), which starts a state of its own beside"
        f" this one; or start over with `ferris state reset`",
    )


# --- the source -------------------------------------------------------------------------------------------------------


def source_facts(builder: JobBuilder) -> dict[str, SourceFacts]:
    """Which data each source of a job is, and how its bytes are read."""
    found = {}
    for source in builder.sources:
        data = {"connector": source.connector.name, **source.connector.data(builder.source_context(source))}
        found[source.spec.name] = SourceFacts(data, _reading(source))
    return found


def _is_pattern(path: str) -> bool:
    return has_magic(path) or "{n" in path


def _reading(source: SourceSettings) -> dict[str, JsonValue]:
    settings, connector = source.values, source.connector
    times = {key: settings.optional_text(key) for key in ("event.time.format", "timestamp.format")}
    found: dict[str, JsonValue] = {key: value for key, value in times.items() if value is not None}
    if source.spec.key:
        found["changelog"] = changes_of(source.spec.properties) or "upsert"
    if connector.row_format is not None:
        return found
    found["format"] = format_of(settings, "source")
    if found["format"] == "csv":
        found |= {key: settings.text(key) for key in ("delimiter", "quote", "nulls")}
        found["header"] = has_header(settings)
    if encoding_of(settings) != "utf-8":
        found["encoding"] = encoding_of(settings)
    return found


# --- another path to the same data ------------------------------------------------------------------------------------


def _same_data(
    builder: JobBuilder, last: EpochRow
) -> Callable[[Mapping[str, JsonValue], Mapping[str, JsonValue]], bool]:
    """Files with the same names in another folder, whose positions the source checks one by one, or one file that
    begins as the one did that was read."""

    def is_same(kept: Mapping[str, JsonValue], now: Mapping[str, JsonValue]) -> bool:
        if {**kept, "path": None} != {**now, "path": None} or "path" not in now:
            return False
        before, after = str(kept["path"]), str(now["path"])
        if _is_pattern(before) or _is_pattern(after):
            return os.path.basename(before) == os.path.basename(after) and not _is_pattern(os.path.dirname(after))
        positions = last.positions.values()
        return all(_begins_alike(position, builder.environment.folder / after) for position in positions)

    return is_same


def _begins_alike(position: JsonValue, path: Path) -> bool:
    """Whether the file begins as the one of the position did, and holds what was read of it."""
    match position:
        case {"head": {"bytes": int(length), "sha256": str(sha)}, "raw": int(raw)} if path.is_file():
            with path.open("rb") as file:
                head = file.read(length)
            return path.stat().st_size >= raw and (not length or hashlib.sha256(head).hexdigest() == sha)
    return False
