"""What the system outside that decides a job's epochs knows of it."""

from __future__ import annotations

from collections.abc import Mapping

from ferrisstreams.connectors.base import CommittedOffset
from ferrisstreams.runtime.build import JobBuilder
from ferrisstreams.runtime.reconcile import newest

#: How long the offsets of the last transaction may take to show, and the nap between two looks.
_SHOWS_MS, _NAP_MS = 5_000, 100


def committed(builder: JobBuilder, epoch: int = 0) -> Mapping[str, CommittedOffset]:
    """What the decider outside knows of the job; nothing where the state file decides.

    An epoch that has just been committed takes a moment to show: it is waited for.
    """
    transactions = builder.transactions()
    if transactions is None:
        return {}
    try:
        for _ in range(_SHOWS_MS // _NAP_MS):
            found = builder.keyed_commits(transactions.committed())
            token = newest(each.metadata for each in found.values())
            if token is None or token.epoch >= epoch:
                break
            builder.environment.clock.sleep_ms(_NAP_MS)
        return found
    finally:
        transactions.close()
