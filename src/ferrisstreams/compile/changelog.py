"""How the changes of a result are written, and by which key."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ferrisstreams.compile.message_rows import MessageForm
from ferrisstreams.errors import ConfigError
from ferrisstreams.plan.nodes import Aggregate, Sink, WindowKind
from ferrisstreams.plan.stages import Operator, Stage, StageGraph


class ChangelogForm(Enum):
    """New values only; the four kinds of changes in a column `op`; a new value or a deletion for each key; old and new
    value in one message, as Debezium writes them."""

    APPEND = "append"
    RETRACT = "retract"
    UPSERT = "upsert"
    DEBEZIUM = "debezium"


@dataclass(frozen=True, slots=True)
class Changelog:
    """`key` are the columns of the message key, where rows become messages. `disappears`: a row can be taken back and
    not be replaced."""

    form: ChangelogForm = ChangelogForm.APPEND
    key: tuple[str, ...] = ()
    disappears: bool = False

    @property
    def retracts(self) -> bool:
        return self.form is ChangelogForm.RETRACT

    @property
    def deletes(self) -> bool:
        """Whether there are messages without a value, which delete their key."""
        return self.form is ChangelogForm.UPSERT and self.disappears

    @property
    def needs_old(self) -> bool:
        """Whether a change must say what was before."""
        return self.retracts or self.deletes or self.enveloped

    @property
    def enveloped(self) -> bool:
        """Whether a message's value is an object of the old and the new one."""
        return self.form is ChangelogForm.DEBEZIUM


def changelog_of(graph: StageGraph, wanted: str | None, updates: bool, messages: MessageForm | None) -> Changelog:
    """The changelog of a job. `wanted` is the setting,
    `updates` says that late rows change what was emitted, `messages` is None for a sink without keys.

    Raises ConfigError E3008 when the setting cannot say the changes.
    """
    changing = [
        output
        for output in graph.outputs
        if isinstance(output.source, Operator)
        and (output.source.node.facts.changes or (updates and isinstance(output.source.node, Aggregate)))
    ]
    changes = bool(changing)
    disappears = any(map(_disappears, changing))
    key = _upsert_key(graph.sink, bool(graph.results), messages)
    own = messages.key if messages is not None else ()
    match wanted:
        case "retract":
            return Changelog(ChangelogForm.RETRACT, own, disappears)
        case "append":
            if disappears:
                what = "a session disappears when it grows or merges"
                if not all(map(_is_session, changing)):
                    what = "a row is taken back"
                raise _impossible(
                    f"'changelog' = 'append' cannot say that {what}", "use 'changelog' = 'retract', or EMIT FINAL"
                )
            return Changelog(key=own)
        case "upsert":
            if messages is None:
                raise _impossible(
                    "'changelog' = 'upsert' needs the keys of messages, and this output has none",
                    "use 'changelog' = 'retract', or write to a topic",
                )
            if not key:
                raise _impossible(
                    "'changelog' = 'upsert' needs a message key that tells the rows of the result apart",
                    "select what is grouped (with a window, window_start too), and give it as the key or give none",
                )
            return Changelog(ChangelogForm.UPSERT, key, disappears)
        case "debezium":
            if messages is None or disappears or (changes and not key):
                raise _impossible(
                    "'changelog' = 'debezium' needs a topic, and rows that a message key tells apart and that stay",
                    "use 'changelog' = 'retract'; sessions with EMIT CHANGES do not stay",
                )
            return Changelog(ChangelogForm.DEBEZIUM, key or own)
    if changes and key:
        return Changelog(ChangelogForm.UPSERT, key, disappears)
    return Changelog(ChangelogForm.RETRACT if disappears else ChangelogForm.APPEND, own, disappears)


def _disappears(output: Stage) -> bool:
    """Whether a row of an output that changes can be taken back without another in its place."""
    assert isinstance(output.source, Operator)
    if not isinstance(output.source.node, Aggregate) or output.conjuncts or _is_session(output):
        return True
    below = [port.source.node.facts for port in output.source.ports if isinstance(port.source, Operator)]
    return any(facts.changes for facts in below)


def _is_session(output: Stage) -> bool:
    node = output.source.node if isinstance(output.source, Operator) else None
    return isinstance(node, Aggregate) and node.window is not None and node.window.kind is WindowKind.SESSION


def _upsert_key(sink: Sink, grouped: bool, messages: MessageForm | None) -> tuple[str, ...]:
    """The columns of a key by which messages replace one another; empty when there is none."""
    if messages is None:
        return ()
    if not grouped:
        return messages.key if messages.chosen else ()
    apart = sink.facts.key
    if apart is None:
        return ()
    if messages.chosen:
        chosen = {name.lower() for name in messages.key}
        return messages.key if all(name.lower() in chosen for name in apart) else ()
    return (*messages.key, *(name for name in apart if name not in messages.key))


def _impossible(message: str, hint: str) -> ConfigError:
    return ConfigError(message, "E3008", hint)
