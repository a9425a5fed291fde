"""Values of settings: as written, and as resolved, each with its origin."""

from __future__ import annotations

from dataclasses import dataclass

from ferrisstreams.errors import Position


@dataclass(frozen=True, slots=True)
class Property:
    """A setting's value as written: in a `WITH (…)`, an annotation, `--set` or the environment.

    `position` is where it stands in a text, `origin` where it comes from in words (`--set`), when it is not a text.
    """

    value: str | bool | int | float
    position: Position | None = None
    origin: str = ""

    @property
    def lead(self) -> str:
        """How a message about it begins: where it comes from, unless that is a place in a text."""
        return f"{self.origin}: " if self.origin and self.position is None else ""
