"""What follows the decision of an epoch: done, or logged and done again. The epoch stands whatever becomes of it."""

from __future__ import annotations

from collections.abc import Callable

from ferrisstreams.errors import as_ferris_error
from ferrisstreams.runtime.observer import Observer


class FollowUps:
    """Of one job. What fails is owed until it is done; what fails again is reported once."""

    def __init__(self, job: str, observer: Observer) -> None:
        self._job = job
        self._observer = observer
        self._owed: dict[str, Callable[[], None]] = {}
        self._told: set[str] = set()

    def try_to(self, what: str, act: Callable[[], None]) -> bool:
        """Do it. When it fails that is logged, and no more: False."""
        try:
            act()
        except Exception as error:
            if what not in self._told:
                self._told.add(what)
                found = as_ferris_error(error)
                self._observer.event(
                    "follow_up_failed", job=self._job, code=found.code, message=f"cannot {what}: {found.message}"
                )
            return False
        self._told.discard(what)
        return True

    def owe(self, what: str, act: Callable[[], None]) -> None:
        """Do it now or, when it fails, at the next `settle`."""
        if not self.try_to(what, act):
            self._owed[what] = act

    def settle(self) -> None:
        """Do what is owed: before anything else becomes final, while idle, at an orderly end. Raises the error of what
        fails again."""
        for what, act in tuple(self._owed.items()):
            act()
            del self._owed[what]
            self._told.discard(what)
