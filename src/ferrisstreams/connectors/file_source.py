"""Records of files: one file, the files of a glob in name order, or files followed as they grow and appear."""

from __future__ import annotations

import os
import select
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from ferrisstreams.batch import Fetch, JsonValue, Limit, Positions, Rejected
from ferrisstreams.clock import Clock
from ferrisstreams.connectors.base import Identities, SourceProgress
from ferrisstreams.connectors.file_content import Content
from ferrisstreams.connectors.file_errors import open_file
from ferrisstreams.connectors.file_identity import FilePosition, refuse_gone, verify
from ferrisstreams.connectors.file_moves import Folders, is_at
from ferrisstreams.connectors.file_names import FileNames
from ferrisstreams.connectors.file_reader import FileReader, Oversized, Records
from ferrisstreams.connectors.file_settings import (
    FileSourceSettings,
    framing_of,
    open_content,
    source_paths,
)
from ferrisstreams.errors import FatalConnectorError
from ferrisstreams.memory_file import MemoryFile

#: How often a watched folder is looked at while its files give records, and how long one nap is when they give none.
_LIST_INTERVAL_MS = 1000.0
_NAP_MS = 50.0
#: The longest header record.
_HEADER_BYTES_MAX = 64 * 1024
#: How many files that had a watched file's name before are remembered, so that a glob does not find them again.
_BEFORE_MAX = 16


@dataclass(slots=True)
class _Partition:
    """`ahead` are the files that follow the one of `position`; `skipped` the bytes of the files before it."""

    name: str
    position: FilePosition
    ahead: list[str] = field(default_factory=list)
    skipped: int = 0
    ended: bool = False
    caught_up: bool = False


class FileSource:
    """Without `watch` all files are one partition and the source is bounded; with it each file is one, without end.

    Errors: FatalConnectorError E4001 (a file cannot be read) and E4002 (it is not what the position was taken in).
    """

    def __init__(self, settings: FileSourceSettings, block: MemoryFile, clock: Clock) -> None:
        self._settings = settings
        self._block = block
        self._clock = clock
        self._framing = framing_of(settings)
        self._names = settings.names
        self._partitions: dict[str, _Partition] = {}
        self._reader: FileReader | None = None
        self._header: bytes | None = None
        self._first_record = 0
        self._turn = 0
        self._full = False
        self._listed_ms = 0.0
        self._over = False

    def check(self, positions: Positions, identities: Identities) -> None:
        paths = self._list()
        if self._settings.watch or (self._settings.sequence and not paths):
            return
        position = _one_partition(self._names, paths, positions).position
        if os.path.exists(position.path) or not position.whole:
            os.close(open_file(position.path))

    def identities(self) -> Identities:
        """Positions have those of their files."""
        return {}

    def open(self, positions: Positions) -> None:
        self._close_reader()
        self._over = False
        if self._settings.watch:
            paths = self._list()
            self._partitions = {name: self._followed(name, given, paths) for name, given in positions.items()}
            self._follow(paths)
        else:
            self._partitions = {}
            self._begin_sequence(self._list(), positions)
        for partition in self._partitions.values():
            if os.path.exists(partition.position.path) or not partition.position.whole:
                self._open_reader(partition)

    def poll(self, limit: Limit) -> Fetch | None:
        if not self._settings.goes_on:
            return self._poll_in_turn(limit)
        deadline = self._clock.monotonic_ms() + limit.wait_ms
        while True:
            if self._clock.monotonic_ms() - self._listed_ms >= _LIST_INTERVAL_MS:
                self._look()
            before = {name: partition.position for name, partition in self._partitions.items()}
            closed = self._is_closed()
            fetch = self._poll_in_turn(limit)
            left = deadline - self._clock.monotonic_ms()
            if fetch is not None:
                if self._full or not limit.fill or left <= 0 or self._settings.sequence:
                    return fetch
                self._partitions[fetch.partition].position = before[fetch.partition]
                self._turn -= 1
            else:
                self._look()
                if closed or left <= 0:
                    fetch = self._poll_in_turn(limit)
                    self._over = closed and fetch is None
                    return fetch
            self._clock.sleep_ms(min(_NAP_MS, left))

    def partitions(self) -> Positions:
        return {name: p.position.to_json(self._names) for name, p in self._partitions.items() if not p.ended}

    def caught_up(self) -> Collection[str]:
        return {name for name, partition in self._partitions.items() if partition.caught_up}

    def reached(self) -> Positions:
        """Fetches say it all, and files begin at their first byte."""
        return {}

    @property
    def ended(self) -> bool:
        if self._settings.goes_on:
            return self._over
        return all(p.ended for p in self._partitions.values())

    def progress(self) -> SourceProgress:
        done = sum(p.skipped + p.position.raw for p in self._partitions.values())
        if self._settings.goes_on:
            return SourceProgress(done, None, "bytes")
        paths = [path for p in self._partitions.values() for path in (p.position.path, *p.ahead)]
        total = sum(p.skipped for p in self._partitions.values()) + sum(map(_size, paths))
        return SourceProgress(done, max(done, total), "bytes")

    def commit(self, positions: Positions) -> None:
        """Nothing outside keeps our positions."""

    def close(self) -> None:
        self._close_reader()

    def _list(self) -> list[str]:
        self._listed_ms = self._clock.monotonic_ms()
        return source_paths(self._settings)

    def _name(self, path: str) -> str:
        return self._names.name(path)

    def _followed(self, name: str, given: JsonValue, paths: Sequence[str]) -> _Partition:
        """A watched file at its position; one that was renamed before it was read whole comes first, and then this."""
        position, folders = FilePosition.from_json(given, self._names), Folders()
        found = folders.find(position)
        if found is not None and found.inode != position.inode:
            # In a copy of the folder the files that had its name have other inodes too.
            position = replace(found, before=folders.copies(position.before, paths))
        path = self._names.path(name)
        return _Partition(name, position, [path] if position.path != path else [])

    def _look(self) -> None:
        """Find out which files there are by now."""
        paths = self._list()
        if self._settings.watch:
            self._follow(paths)
        elif not self._partitions:
            self._begin_sequence(paths, {})
        else:
            for partition in self._partitions.values():
                partition.ahead = [path for path in paths if path > partition.position.path]

    def _begin_sequence(self, paths: list[str], positions: Positions) -> None:
        """All files as one partition; one that goes on may begin without any."""
        if paths or positions or not self._settings.sequence:
            partition = _one_partition(self._names, paths, positions, self._settings.sequence)
            self._partitions = {partition.name: partition}

    def _follow(self, paths: Sequence[str]) -> None:
        """Find out what became of the watched files: new ones, renamed ones, and ones that are gone."""
        folders = Folders()
        if self._partitions and not os.path.isdir(self._names.folder):
            raise FatalConnectorError(
                f"the folder {self._names.folder} is gone, with files that the job has read", "E4002", "bring it back"
            )
        for partition in list(self._partitions.values()):
            self._find(partition, folders)
        for path in paths:
            name = self._name(path)
            if name not in self._partitions and not self._is_known(path):
                self._partitions[name] = _Partition(name, FilePosition(path))

    def _is_known(self, path: str) -> bool:
        """Whether the file was read, or is being read, under another name."""
        positions = [partition.position for partition in self._partitions.values()]
        known = [identity for position in positions for identity in (position.identity, *position.before)]
        return any(identity.inode and is_at(identity, path) for identity in known)

    def _find(self, partition: _Partition, folders: Folders) -> None:
        """Go on in the file where it is now; then the one that has its name follows."""
        position = partition.position
        found = folders.find(position)
        if found is not None:
            partition.position = found
            if found.path != position.path:
                partition.ahead = partition.ahead or [position.path]
        elif self._reading(position):
            partition.ahead = partition.ahead or [position.path]  # it has no name any more, but it is open
        elif not position.whole:
            raise refuse_gone(position)
        else:
            follower = partition.ahead.pop(0) if partition.ahead else position.path
            if os.path.exists(follower) and not self._is_known(follower):
                partition.position = _next_position(position, follower)
            else:
                del self._partitions[partition.name]

    def _is_closed(self) -> bool:
        """Whether who writes the files has ended: then what is there now is all."""
        pipe = self._settings.while_open
        return pipe is not None and bool(select.select([pipe], [], [], 0)[0])

    def _poll_in_turn(self, limit: Limit) -> Fetch | None:
        """The next partition that has records, each in its turn."""
        partitions = list(self._partitions.values())
        for step in range(len(partitions)):
            partition = partitions[(self._turn + step) % len(partitions)]
            if partition.ended:
                continue
            fetch = self._poll_partition(partition, limit)
            partition.caught_up = fetch is None or fetch.caught_up
            if fetch is not None:
                self._turn = (self._turn + step + 1) % len(partitions)
                return fetch
        return None

    def _poll_partition(self, partition: _Partition, limit: Limit) -> Fetch | None:
        while True:
            position = partition.position
            if self._settings.watch and not self._reading(position):
                self._find(partition, Folders())
                if partition.name not in self._partitions:
                    return None
            gone = self._is_gone(partition.position)
            if not gone and (fetch := self._fetch(partition, self._open_reader(partition), limit)) is not None:
                return fetch
            if self._settings.watch and not self._has_follower(partition):
                return None
            if not partition.ahead:
                partition.ended = not self._settings.sequence
                return None
            self._next_file(partition)

    def _has_follower(self, partition: _Partition) -> bool:
        """Whether another file, which no one reads, has the name of one that was renamed."""
        ahead = partition.ahead
        return bool(ahead) and os.path.exists(ahead[0]) and not self._is_known(ahead[0])

    def _is_gone(self, position: FilePosition) -> bool:
        """A file that was read whole and is gone has nothing more to give."""
        return position.whole and not self._reading(position) and not os.path.exists(position.path)

    def _fetch(self, partition: _Partition, reader: FileReader, limit: Limit) -> Fetch | None:
        settings, position, content = self._settings, partition.position, reader.content
        if os.fstat(content.fd).st_size < position.raw:
            verify(position, content, settings.watch)
        if settings.header and self._header is None:
            self._read_header(reader)
        found = None
        if self._header is not None or not settings.header:
            found = reader.read(position.offset or self._first_record, limit, final=not settings.watch)
        if found is None:
            if self._header is not None and not position.offset:
                return self._header_alone(partition, content)
            if not settings.watch:
                partition.position = position.moved_to_end(content)
            return None
        whole = content.ends_at(found.stop)
        self._full = isinstance(found, Oversized) or found.full
        partition.position = position.moved_to(content, found.stop, whole)
        at_end = whole and not partition.ahead
        partition.ended = at_end and not settings.goes_on
        return Fetch(
            partition=partition.name,
            records=self._block,
            origin=self._name(position.path),
            offset=found.start,
            position=partition.position.to_json(self._names),
            caught_up=at_end,
            oversized=self._oversized(partition, reader, found),
            header=self._header,
            more=at_end and self._others_wait(partition),
        )

    def _header_alone(self, partition: _Partition, content: Content) -> Fetch:
        """A fetch without records of a file with nothing below its header: a wrong header is noticed at once."""
        origin, whole = self._name(partition.position.path), content.ends_at(self._first_record)
        partition.position = partition.position.moved_to(content, self._first_record, whole)
        self._block.truncate(0)
        return Fetch(
            partition=partition.name,
            records=self._block,
            origin=origin,
            offset=self._first_record,
            position=partition.position.to_json(self._names),
            header=self._header,
        )

    def _others_wait(self, partition: _Partition) -> bool:
        """Whether other watched files have bytes that were not read, perhaps no whole record."""
        others = (other for other in self._partitions.values() if other is not partition)
        return any(_size(other.position.path) > other.position.raw for other in others)

    def _oversized(self, partition: _Partition, reader: FileReader, found: Records | Oversized) -> tuple[Rejected, ...]:
        if isinstance(found, Records):
            return ()
        length = found.stop - found.start
        return (
            Rejected(
                value=found.head,
                code="E2108",
                message=f"a record of {length} bytes is larger than the limit of {self._settings.record_bytes_max}",
                stage="decode",
                partition=partition.name,
                offset=found.start,
                position=f"{self._name(reader.content.path)} byte {found.start}",
                truncated=True,
            ),
        )

    def _reading(self, position: FilePosition) -> bool:
        """Whether the file of the position is open, whatever its name is by now."""
        return self._reader is not None and os.fstat(self._reader.content.fd).st_ino == position.inode

    def _open_reader(self, partition: _Partition) -> FileReader:
        """The reader of the partition's file; one file is open at a time, however many are watched."""
        if self._reader is not None and self._reading(partition.position):
            return self._reader
        self._close_reader()
        position, settings = partition.position, self._settings
        content = open_content(position.path, settings, position.restart)
        self._reader = FileReader(content, self._framing, self._block, settings.record_bytes_max)
        partition.position = verify(position, content, settings.watch)
        if position.offset == 0:
            self._first_record = self._reader.content_start()
        return self._reader

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.content.close()
        self._reader = None
        self._header = None
        self._first_record = 0

    def _read_header(self, reader: FileReader) -> None:
        """Keep the header and where it ends, when the file has one by now."""
        limit = Limit(rows=1, bytes=_HEADER_BYTES_MAX)
        found = reader.read(reader.content_start(), limit, final=not self._settings.watch)
        if found is None:
            return
        if isinstance(found, Oversized):
            raise FatalConnectorError(
                f"{reader.content.path} has a header of {found.stop - found.start} bytes", "E4005", "is it a CSV file?"
            )
        self._header = self._block.read().rstrip(b"\r\n")
        self._first_record = found.stop

    def _next_file(self, partition: _Partition) -> None:
        before = partition.position
        partition.skipped += before.raw
        path = partition.ahead.pop(0)
        if self._settings.watch:
            self._close_reader()  # by its inode it may be the one that has just been read
            partition.position = _next_position(before, path)
            return
        partition.position = FilePosition(path, done=before.done.plus(before, self._names))


def _next_position(before: FilePosition, path: str) -> FilePosition:
    """The beginning of the file that has taken the place of one that was renamed."""
    return FilePosition(path, before=(*before.before, before.identity)[-_BEFORE_MAX:])


def _one_partition(names: FileNames, paths: list[str], positions: Positions, may_be_empty: bool = False) -> _Partition:
    """All files in name order, from the position on. Raises FatalConnectorError E4001 and E4002.

    The partition keeps its name when the one file has another: the state orders rows by it.
    """
    name, given = next(iter(positions.items()), (names.name(names.pattern), None))
    if not paths and not (given is not None and may_be_empty):
        raise FatalConnectorError(
            f"no file matches {names.pattern}", "E4001", "check the path, or set watch to wait for files"
        )
    if given is None:
        return _Partition(name, FilePosition(paths[0]), paths[1:])
    position = FilePosition.from_json(given, names)
    if paths == [names.pattern]:
        # Whether it is the file that was read is found out when it is open.
        position = replace(position, path=names.pattern)
    if not os.path.exists(position.path) and not (position.whole and names.is_glob):
        raise refuse_gone(position)
    before = [path for path in paths if path < position.path]
    position = replace(position, done=position.done.found(before, names))
    ahead = [path for path in paths if path > position.path]
    return _Partition(name, position, ahead, sum(map(_size, before)))


def _size(path: str) -> int:
    return os.path.getsize(path) if os.path.exists(path) else 0
