"""Columns and their types. A type is its SQL text in capitals: `BIGINT`, `DECIMAL(10,2)`, `STRUCT("a" INTEGER)[]`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Column:
    """`hidden`: not in `*`. `folds`: declared without quotes, so that it is the same name to SQL in other capitals."""

    name: str
    type: str
    nullable: bool = True
    hidden: bool = False
    folds: bool = False


@dataclass(frozen=True, slots=True)
class Schema:
    columns: tuple[Column, ...]
    _by_name: Mapping[str, Column] = field(init=False, repr=False, compare=False)
    _by_small_name: Mapping[str, Column] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Of columns of one name the first is the one that counts.
        object.__setattr__(self, "_by_name", {column.name: column for column in reversed(self.columns)})
        small = {column.name.lower(): column for column in reversed(self.columns)}
        object.__setattr__(self, "_by_small_name", small)

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def visible(self) -> Schema:
        """The columns that are not hidden."""
        return Schema(tuple(column for column in self.columns if not column.hidden))

    def get(self, name: str) -> Column | None:
        """The column of exactly this name."""
        return self._by_name.get(name)

    def find(self, name: str) -> Column | None:
        """The first column of this name in any capitals."""
        return self._by_small_name.get(name.lower())


@dataclass(frozen=True, slots=True)
class EventTime:
    """The event-time column of a source and its delay: the watermark is the greatest event time less `delay_us`."""

    column: str
    delay_us: int = 0
