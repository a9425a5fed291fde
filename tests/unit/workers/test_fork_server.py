"""Processes forked from a warm one."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ferrisstreams.errors import FatalConnectorError
from ferrisstreams.workers.fork_server import ForkedProcess, ForkServer, Request


def show() -> None:
    """What a fork sees of itself."""
    seen = {"arguments": sys.argv, "folder": os.getcwd(), "variables": dict(os.environ), "input": sys.stdin.read()}
    print(json.dumps(seen), flush=True)
    sys.exit(int(os.environ.get("CODE", "0")))


def end() -> None:
    """Leaves work behind it: output that is not flushed, a thread, an exit function; and ends as its input says."""
    said = sys.stdin.read()
    atexit.register(print, "exit function")
    begun = threading.Event()
    threading.Thread(target=lambda: (begun.set(), print("thread"))).start()
    begun.wait()
    print("entry point")
    if said == "raise":
        raise ValueError("its own")
    if said:
        sys.exit(None if said == "None" else int(said) if said.isdigit() else said)


def told() -> None:
    """What stands at the descriptor that is its argument, and its environment."""
    said = os.read(int(sys.argv[1]), 99).decode()
    print(json.dumps([said, os.environ["NUMBER"], len(os.environ["LARGE"])]))


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    server = ForkServer(f"{__name__}:show", ["ferrisstreams.workers"])
    yield server
    server.close()


def forked(server: ForkServer, folder: Path, text: str | None = "", **variables: str) -> tuple[ForkedProcess, int, int]:
    """A fork, and the ends of its output and input. Without a text its input stays open."""
    read_input, write_input = os.pipe()
    read_output, write_output = os.pipe()
    process = server.fork(Request(["show", "it"], str(folder), variables), (read_input, write_output, 2))
    os.close(read_input)
    os.close(write_output)
    if text is not None:
        os.write(write_input, text.encode())
        os.close(write_input)
    return process, read_output, write_input


def test_fork_has_the_arguments_folder_environment_and_streams_of_its_request(
    server: ForkServer, tmp_path: Path
) -> None:
    process, output, _ = forked(server, tmp_path, "hello", A="1")
    with os.fdopen(output) as stream:
        seen = json.load(stream)
    assert process.wait(10) == 0
    assert seen == {
        "arguments": ["show", "it"],
        "folder": str(tmp_path.resolve()),
        "variables": {"A": "1"},
        "input": "hello",
    }


def test_threads_that_ask_at_once_get_each_its_own(tmp_path: Path) -> None:
    """Requests that take many reads, with descriptors among their arguments."""
    server = ForkServer(f"{__name__}:told", [])

    def ask(number: int) -> tuple[list[object], int]:
        read, write = os.pipe()
        os.write(write, b"pipe %d" % number)
        os.close(write)
        output, stdout = os.pipe()
        variables = {"NUMBER": str(number), "LARGE": "x" * (300_000 + number)}
        process = server.fork(Request(["told", read], str(tmp_path), variables), (0, stdout, 2))
        os.close(read)
        os.close(stdout)
        with os.fdopen(output) as stream:
            return json.load(stream), process.wait(30)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(32))) == [([f"pipe {n}", str(n), 300_000 + n], 0) for n in range(32)]
    server.close()


def test_exit_code_of_a_fork_is_told(server: ForkServer, tmp_path: Path) -> None:
    process, output, _ = forked(server, tmp_path, CODE="3")
    assert process.wait(10) == 3
    os.close(output)


@pytest.mark.parametrize(("text", "code"), [("", 0), ("None", 0), ("0", 0), ("3", 3), ("a message", 1), ("raise", 1)])
def test_fork_that_ends_leaves_nothing_undone(tmp_path: Path, text: str, code: int) -> None:
    server = ForkServer(f"{__name__}:end", [])
    process, output, _ = forked(server, tmp_path, text)
    with os.fdopen(output) as stream:
        assert sorted(stream.read().splitlines()) == ["entry point", "exit function", "thread"]
    assert process.wait(10) == code
    server.close()


def test_fork_whose_reader_has_gone_ends_as_it_would_with_one(tmp_path: Path) -> None:
    server = ForkServer(f"{__name__}:end", [])
    process, output, write_input = forked(server, tmp_path, None)
    os.close(output)
    os.close(write_input)
    assert process.wait(10) == 0
    server.close()


def test_fork_is_killed_alone(server: ForkServer, tmp_path: Path) -> None:
    killed, first, first_input = forked(server, tmp_path, None)
    other, second, second_input = forked(server, tmp_path, None)
    assert killed.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        killed.wait(0.01)
    killed.kill()
    assert killed.wait(10) == -signal.SIGKILL
    assert other.poll() is None
    os.close(second_input)
    assert other.wait(10) == 0
    for descriptor in (first, second, first_input):
        os.close(descriptor)


def test_forks_end_with_their_server(tmp_path: Path) -> None:
    server = ForkServer(f"{__name__}:show", [])
    process, output, write_input = forked(server, tmp_path, None)
    server.close()
    with os.fdopen(output) as stream:
        assert stream.read() == ""
    with pytest.raises(FatalConnectorError, match="E6004"):
        process.wait(10)
    os.close(write_input)


def test_fork_whose_server_was_killed_still_hears_of_a_stop(tmp_path: Path) -> None:
    server = ForkServer(f"{__name__}:show", [])
    process, output, write_input = forked(server, tmp_path, None)
    parent = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[1]
    os.kill(int(parent), signal.SIGKILL)
    server.close()
    with pytest.raises(FatalConnectorError, match="E6004"):
        process.wait(10)
    process.terminate()
    with os.fdopen(output) as stream:
        assert stream.read() == ""
    os.close(write_input)


def test_server_that_ended_is_an_error(tmp_path: Path) -> None:
    server = ForkServer(f"{__name__}:show", [])
    server.close()
    with pytest.raises(FatalConnectorError, match="E6004"):
        server.fork(Request(["show"], str(tmp_path), {}), (0, 1, 2))
