"""A wire that can lose answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from threading import Thread

import pytest

from tests.wire import Wire


@pytest.fixture
def echo() -> Iterator[tuple[int, list[bytes]]]:
    """The port of a server that sends back what it gets, and what it got."""
    listener, got = socket.create_server(("127.0.0.1", 0)), []

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                while piece := client.recv(100):
                    got.append(piece)
                    client.sendall(piece)

    Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1], got
    listener.close()


def test_lost_answers_are_of_requests_that_arrive(echo: tuple[int, list[bytes]]) -> None:
    port, got = echo
    with Wire() as wire:
        wire.lead_to(port)
        with socket.create_connection(("127.0.0.1", wire.port), timeout=10) as client:
            client.sendall(b"one")
            assert client.recv(100) == b"one"
            wire.lose_answers()
            client.settimeout(0.3)
            client.sendall(b"two")
            with pytest.raises(TimeoutError):
                client.recv(100)
            assert got == [b"one", b"two"]
            wire.restore()
            client.settimeout(10)
            assert client.recv(100) == b""
        with socket.create_connection(("127.0.0.1", wire.port), timeout=10) as client:
            client.sendall(b"three")
            assert client.recv(100) == b"three"


def test_wire_to_nobody_ends_connections() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    with Wire() as wire:
        wire.lead_to(free)
        with socket.create_connection(("127.0.0.1", wire.port), timeout=10) as client:
            assert client.recv(100) == b""
