"""How a file begins: what tells it from another one, wherever it is and whatever its inode."""

from __future__ import annotations

import hashlib
import os

#: How much of a file's beginning is hashed.
HEAD_BYTES_MAX = 1024


def head_bytes(length: int) -> int:
    """How many of the first `length` bytes of a file count: the rest may still change."""
    return min(HEAD_BYTES_MAX, length)


def head_sha(fd: int, length: int) -> str:
    """The hash of what counts of the first `length` bytes of a file."""
    return sha(os.pread(fd, head_bytes(length), 0))


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
