"""The door of a worker: it answers reads of the last decided epoch beside the job, on a socket beside the state.

    ferris status ──request──▶ socket ──▶ thread of the door ──▶ connection of its own, up to the decided tick
                  ◀──answer──

One thread serves all callers. None can hold it up: what is said is bounded in size and time, their number too, and a
read is cut by the engine (`EngineSettings.reader_ms`). While nobody asks it sleeps.
"""

from __future__ import annotations

import selectors
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread

from ferrisstreams.clock import SystemClock
from ferrisstreams.runtime.door_name import open_socket, remove_socket

#: A message begins with the length of its text, in this many bytes; a request has a few fields.
LENGTH_BYTES, REQUEST_BYTES_MAX = 4, 4 * 1024

#: A read is cut after this: what it sees cannot be given back before.
READ_MS = 1_000

#: Callers at a time; others wait in the system's queue.
CALLERS_MAX = 16

#: How long a caller may take to ask, and to take its answer.
_PATIENCE_MS = 2_000.0

#: Bytes that are taken from a caller, and given to it, at a time.
_PIECE_BYTES = 256 * 1024


class _Caller:
    """One connection: a request comes in, its answer goes out, and so on."""

    def __init__(self, connection: socket.socket, now_ms: float) -> None:
        self.connection = connection
        self.since_ms = now_ms
        self._received = bytearray()
        self._left = memoryview(b"")

    def receive(self) -> bytes | None:
        """The text of a whole request, None until it is complete. Raises OSError where the caller must be dismissed."""
        piece = self.connection.recv(_PIECE_BYTES)
        if not piece:
            raise ConnectionResetError("the caller has gone")
        self._received += piece
        if len(self._received) < LENGTH_BYTES:
            return None
        end = LENGTH_BYTES + int.from_bytes(self._received[:LENGTH_BYTES], "big")
        if end > LENGTH_BYTES + REQUEST_BYTES_MAX or len(self._received) > end:
            raise ConnectionAbortedError(f"a request of more than {REQUEST_BYTES_MAX} bytes, or before an answer")
        if len(self._received) < end:
            return None
        text, self._received = bytes(self._received[LENGTH_BYTES:end]), bytearray()
        return text

    def begin(self, answer: bytes, now_ms: float) -> None:
        self._left, self.since_ms = memoryview(answer), now_ms

    def send(self) -> bool:
        """Give what the system takes; whether all is out. Raises OSError."""
        with suppress(BlockingIOError):
            self._left = self._left[self.connection.send(self._left[:_PIECE_BYTES]) :]
        return not self._left


class Door:
    """`answer` makes of the text of a request a whole answer, in the thread of the door; `interrupt` cuts what it
    reads, `fail` hears why the door closed by itself."""

    def __init__(
        self,
        folder: Path,
        answer: Callable[[bytes], bytes],
        interrupt: Callable[[], None],
        fail: Callable[[str], None],
    ) -> None:
        self._folder = folder
        self._answer = answer
        self._interrupt = interrupt
        self._fail = fail
        self._clock = SystemClock()
        self._callers: set[_Caller] = set()
        self._selector = selectors.DefaultSelector()
        self._hearing = open_socket(folder)
        self._path: str = self._hearing.getsockname()
        self._woken, self._wake = socket.socketpair()
        self._thread = Thread(target=self._run, name=f"door of {folder.name}", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._selector.register(self._hearing, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread.start()

    def close(self) -> None:
        """Cut what is read, and wait for the thread. Raises OSError where the socket cannot be taken away."""
        self._wake.close()
        while self._thread.is_alive():
            self._interrupt()
            self._thread.join(0.1)
        for caller in self._callers:
            caller.connection.close()
        self._selector.close()
        self._woken.close()
        self._hearing.close()
        remove_socket(self._folder, self._path)

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        # A signal interrupts the job's own waits, which are in another thread.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            while self._serve():
                pass
        except Exception as error:
            self._hearing.close()
            self._fail(f"{type(error).__name__}: {error}")

    def _serve(self) -> bool:
        """One round; False when the door closes."""
        for key, _ in self._selector.select(_PATIENCE_MS / 1000 if self._callers else None):
            if key.fileobj is self._woken:
                return False
            if key.fileobj is self._hearing:
                self._accept()
            elif isinstance(key.data, _Caller):
                self._go_on(key.data, key.events)
        late_ms = self._clock.monotonic_ms() - _PATIENCE_MS
        for caller in [caller for caller in self._callers if caller.since_ms < late_ms]:
            self._dismiss(caller)
        return True

    def _accept(self) -> None:
        with suppress(BlockingIOError, ConnectionAbortedError):
            connection, _ = self._hearing.accept()
            connection.setblocking(False)
            caller = _Caller(connection, self._clock.monotonic_ms())
            self._callers.add(caller)
            self._selector.register(connection, selectors.EVENT_READ, caller)
            if len(self._callers) == CALLERS_MAX:
                self._selector.unregister(self._hearing)

    def _dismiss(self, caller: _Caller) -> None:
        self._selector.unregister(caller.connection)
        caller.connection.close()
        if len(self._callers) == CALLERS_MAX:
            self._selector.register(self._hearing, selectors.EVENT_READ)
        self._callers.remove(caller)

    def _go_on(self, caller: _Caller, events: int) -> None:
        try:
            if events & selectors.EVENT_READ:
                text = caller.receive()
                if text is None:
                    return
                caller.begin(self._answer(text), self._clock.monotonic_ms())
            if caller.send():
                self._selector.modify(caller.connection, selectors.EVENT_READ, caller)
            else:
                self._selector.modify(caller.connection, selectors.EVENT_WRITE, caller)
        except OSError:
            self._dismiss(caller)
