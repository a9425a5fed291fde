"""A wire between clients and a server that can lose the server's answers."""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Lock, Thread
from types import TracebackType
from typing import Self

_PIECE_BYTES = 1 << 16


class Wire:
    """A port in front of another one on this machine. Used as a context it is closed at the end.

    While `lose_answers` holds, all that clients send arrives, and nothing of what comes back does. `restore` breaks the
    connections that have lost something, as a network does that comes back.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._target = 0
        self._deaf = False
        self._lock = Lock()
        self._ends: set[socket.socket] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        """Where clients connect to."""
        return int(self._listener.getsockname()[1])

    def lead_to(self, port: int) -> None:
        """From now on connections lead to this port. Called once."""
        self._target = port
        Thread(target=self._accept, name="ferris-wire", daemon=True).start()

    def lose_answers(self) -> None:
        """From now on."""
        self._deaf = True

    def restore(self) -> None:
        """Connections made from now on are whole; those that there are end."""
        self._deaf = False
        self._end()

    def close(self) -> None:
        """End all, the port too."""
        self._listener.close()
        self._end()

    def _end(self) -> None:
        with self._lock:
            ends = list(self._ends)
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # The wire is closed.
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()  # Nobody is there.
                continue
            with self._lock:
                self._ends |= {client, server}
            for source, target, answers in ((client, server, False), (server, client, True)):
                Thread(target=self._carry, args=(source, target, answers), name="ferris-wire", daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(_PIECE_BYTES):
                if not (answers and self._deaf):
                    target.sendall(piece)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._ends.discard(source)
        source.close()
