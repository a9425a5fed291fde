"""What can go wrong with a file that is read, as errors that say what to do."""

from __future__ import annotations

import os
import stat

from ferrisstreams.errors import FatalConnectorError


def open_file(path: str) -> int:
    """A descriptor to read a regular file. Raises FatalConnectorError E4001."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise FatalConnectorError(
                f"{path} is {kind}", "E4001", "give the path of a file, or a glob such as *.jsonl"
            )
        return os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError as error:
        raise FatalConnectorError(f"{path} does not exist", "E4001", "check the path") from error
    except PermissionError as error:
        hint = "give this user permission to read it"
        raise FatalConnectorError(f"{path} cannot be read: no permission", "E4001", hint) from error
    except OSError as error:
        raise read_error(path, error) from error


def read_error(path: str, error: OSError) -> FatalConnectorError:
    return FatalConnectorError(f"{path} cannot be read: {error.strerror}", "E4001", "check the path and the disk")


def shrank(path: str) -> FatalConnectorError:
    """The file has lost bytes while it was read."""
    return FatalConnectorError(
        f"{path} shrank while it was read",
        "E4002",
        "let no other process cut the file, or reset the job's state to read from the beginning",
    )
