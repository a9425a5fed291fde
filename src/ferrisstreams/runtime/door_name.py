"""Where the door of a worker is: a file in the state folder names its socket.

The path of a socket may have some hundred bytes, and state folders lie deeper than that: the socket is in a private
folder (0700) among the temporary ones, and is itself 0600. Nothing of it is believed without a look: whoever can plant
a name or a link must not make us delete, or talk to, what belongs to somebody else.
"""

from __future__ import annotations

import os
import re
import socket
import stat
import tempfile
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from ferrisstreams.clock import SystemClock
from ferrisstreams.runtime.identity import STATE_FILE

#: In the folder of a state.
DOOR_FILE = "door"

_PREFIX = "ferris-"
_SOCKET = "door"
_PRIVATE = re.compile(rf"{_PREFIX}[a-z0-9_]{{8}}")
_NAMED = re.compile(rf"{_PREFIX}[a-z0-9_]{{8}}/{_SOCKET}")

#: A folder younger than this may be one of a worker that begins to hear.
_BEGINNING_SECONDS = 60

#: No socket's path is longer.
_NAME_BYTES_MAX = 256

#: How long whoever reads waits for a worker to take it in, to answer, and to go on sending.
CONNECT_SECONDS = 2.0


class NoDoorError(Exception):
    """Nobody answers for a state, and why."""


def open_socket(folder: Path) -> socket.socket:
    """A socket that hears, its name in the folder; those that killed processes have left, there or of states that were
    never started again, are taken away. Raises OSError."""
    remove_stale(folder)
    remove_left(tempfile.gettempdir(), SystemClock().now_us())
    private = tempfile.mkdtemp(prefix=_PREFIX)
    path = os.path.join(private, _SOCKET)
    hearing = socket.socket(socket.AF_UNIX)
    try:
        hearing.setblocking(False)
        hearing.bind(path)
        os.chmod(path, 0o600)
        hearing.listen()
        _write_name(folder, path)
    except OSError:
        hearing.close()
        _remove_socket(path)
        raise
    return hearing


def remove_socket(folder: Path, path: str) -> None:
    """Take the socket away, and its name where it is still this one's. Raises OSError."""
    _remove_socket(path)
    if _read_name(folder) == path:
        (folder / DOOR_FILE).unlink(missing_ok=True)


def connect(folder: Path) -> socket.socket:
    """To the worker that answers for the state in the folder. Raises NoDoorError."""
    path = _read_name(folder)
    if path is None:
        raise NoDoorError("no worker has left its name")
    try:
        if not _is_socket_of(path, {os.geteuid(), os.stat(folder / STATE_FILE).st_uid}):
            raise NoDoorError(f"{path} is not a socket that only the owner of the state can use")
        answering = socket.socket(socket.AF_UNIX)
        try:
            answering.settimeout(CONNECT_SECONDS)
            answering.connect(path)
        except OSError:
            answering.close()
            raise
    except OSError as error:
        raise NoDoorError(f"{path}: {error.strerror or error}") from error
    return answering


def file_number(folder: Path) -> str:
    """Which file the state in a folder is, to the system: a copy of the folder has another one. Raises OSError."""
    status = os.stat(folder / STATE_FILE)
    return f"{status.st_dev}:{status.st_ino}"


def is_answered(folder: Path) -> bool:
    """Whether a worker hears at the door of a state."""
    try:
        connect(folder).close()
    except NoDoorError:
        return False
    return True


def remove_stale(folder: Path) -> None:
    """Take away the socket that a killed worker has left. A copied folder names that of a worker that lives."""
    path = _read_name(folder)
    if path is None:
        return
    try:
        connect(folder).close()
    except NoDoorError as closed:
        if isinstance(closed.__cause__, ConnectionRefusedError):
            _remove_socket(path)


def remove_left(temporary: str, now_us: int) -> None:
    """Take away this user's private folders at whose sockets nobody hears. What cannot be taken away stays: somebody
    else has it, or has taken it away just now."""
    with suppress(OSError), os.scandir(temporary) as entries:
        for entry in entries:
            if _PRIVATE.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                with suppress(OSError):
                    _remove_unheard(entry.path, now_us)


# --- private ----------------------------------------------------------------------------------------------------------


def _remove_unheard(private: str, now_us: int) -> None:
    status = os.lstat(private)
    is_own = status.st_uid == os.geteuid() and not status.st_mode & 0o077
    if not is_own or now_us / 1e6 - status.st_mtime < _BEGINNING_SECONDS:
        return
    path = os.path.join(private, _SOCKET)
    if os.listdir(private) != [_SOCKET] or not stat.S_ISSOCK(os.lstat(path).st_mode):
        os.rmdir(private)  # Raises OSError where there is something else in it, which is not of a door.
        return
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(CONNECT_SECONDS)
        try:
            asking.connect(path)
        except ConnectionRefusedError:
            _remove_socket(path)


def _write_name(folder: Path, path: str) -> None:
    """As a whole, and over whatever is there; it need not outlast the machine."""
    pending = folder / f"{DOOR_FILE}.pending"
    pending.unlink(missing_ok=True)
    handle = os.open(pending, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        os.write(handle, path.encode())
    finally:
        os.close(handle)
    pending.replace(folder / DOOR_FILE)


def _read_name(folder: Path) -> str | None:
    """The name in the file; None without a file, or where it holds no name that a door gives."""
    try:
        handle = os.open(folder / DOOR_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        found = os.read(handle, _NAME_BYTES_MAX + 1) if stat.S_ISREG(os.fstat(handle).st_mode) else b""
    finally:
        os.close(handle)
    path = found.decode(errors="replace")
    own = len(found) <= _NAME_BYTES_MAX and os.path.isabs(path) and _NAMED.fullmatch("/".join(path.split("/")[-2:]))
    return path if own else None


def _is_socket_of(path: str, owners: Collection[int]) -> bool:
    """Whether it is a socket of one of these users in a folder that only this one can enter, and no link to one."""
    folder, door = os.lstat(os.path.dirname(path)), os.lstat(path)
    private = stat.S_ISDIR(folder.st_mode) and not stat.S_IMODE(folder.st_mode) & 0o077
    return private and stat.S_ISSOCK(door.st_mode) and folder.st_uid == door.st_uid and door.st_uid in owners


def _remove_socket(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)
    with suppress(FileNotFoundError):
        os.rmdir(os.path.dirname(path))
