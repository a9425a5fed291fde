"""Packed, mapped and rotated files under kill -9: the same rows as from plain files, and an audit that agrees."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from ferrisstreams.connectors.compression import Compression, compression_of
from ferrisstreams.connectors.file_content import RestartPoint, StreamContent, StreamSettings
from ferrisstreams.connectors.output_file import packed
from tests import processes
from tests.crash.conftest import CALMLY, some_of

ROWS = 16_000
#: A reclaim comes after fifty epochs at the latest: first, while there is enough to do for so many.
KILLS = (
    *("during_reclaim", "after_reclaim", "after_read", "after_process", "after_write", "after_flush"),
    *("after_prepare", "before_confirm", "after_confirm", "during_recovery"),
)
COLUMNS = "id BIGINT, name VARCHAR, v BIGINT"


def values() -> list[dict[str, object]]:
    return [{"id": i, "name": f"né{i % 13}", "v": i * 7 % 100} for i in range(ROWS)]


def lines() -> bytes:
    """One row in a thousand does not decode."""
    rows = [json.dumps(row, ensure_ascii=False) if i % 1000 != 500 else '{"id": "x"}' for i, row in enumerate(values())]
    return "".join(f"{row}\n" for row in rows).encode()


def in_members(data: bytes, compression: Compression) -> bytes:
    """Members that end within lines."""
    return b"".join(packed(data[at : at + 100_003], compression) for at in range(0, len(data), 100_003))


@dataclass(frozen=True)
class Form:
    """One form of the same rows: the file's name, its settings and its bytes."""

    name: str
    settings: str
    content: Callable[[], bytes]


PLAIN = Form("in.jsonl", "", lines)
FORMS = {
    "gzip": Form("in.jsonl.gz", "", lambda: in_members(lines(), "gzip")),
    "zstd": Form("in.jsonl.zst", "", lambda: in_members(lines(), "zstd")),
    "mmap": Form("in.jsonl", ", mmap=true", lines),
    "array": Form("in.json", ", format='json_array'", lambda: b"[" + b",\n".join(lines().splitlines()) + b"]\n"),
    "latin": Form("in.txt", ", encoding='latin-1'", lambda: lines().decode().encode("latin-1")),
}


class Run:
    def __init__(self, folder: Path, form: Form, sink: str) -> None:
        folder.mkdir()
        self.folder = folder
        self._app = folder / "app.sql"
        (folder / form.name).write_bytes(form.content())
        batch = "'batch.size'=100, 'batch.strategy'='fixed_size'"
        self._app.write_text(
            f"CREATE STREAM rows ({COLUMNS}) WITH (connector='file', path='{form.name}', {batch}{form.settings});\n"
            f"CREATE STREAM kept WITH (connector='file', {sink}, 'commit.policy'='per_batch') AS\n"
            f"SELECT id, name, v * 2 AS twice FROM rows WHERE v % 3 <> 0;\n"
        )

    def ferris(self, command: str, *arguments: str, fault: str | None = None) -> subprocess.CompletedProcess[str]:
        return processes.run(command, self._app, *arguments, **({"FERRIS_FAULT": fault} if fault else {}))

    def output(self) -> dict[str, bytes]:
        """The content of every output file."""
        return {path.name: content_of(path) for path in sorted(self.folder.glob("out*"))}


def content_of(path: Path) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    content = StreamContent(str(path), fd, StreamSettings(compression_of(str(path), None)), RestartPoint())
    data = content.part(0, 1 << 30)
    content.check()
    content.close()
    return data


def kill_and_finish(run: Run, points: Sequence[str]) -> None:
    """A death at each point, and then to the end."""
    deaths = 0
    for number, point in enumerate(points):
        hit = 1 if point.startswith(("during", "after_reclaim")) else 2 + number % 2
        ended = run.ferris("run", fault=f"{point}:{hit}")
        assert ended.returncode in (-9, 0), ended.stderr
        deaths += ended.returncode == -9
    assert deaths == len(points)
    ended = run.ferris("run", *CALMLY)
    assert ended.returncode == 0, ended.stderr


def assert_audited(run: Run) -> None:
    audit = run.ferris("audit")
    assert audit.returncode == 0, audit.stdout + audit.stderr
    assert "rows in the sink = written" in audit.stdout


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The rows of the plain form, undisturbed."""
    run = Run(tmp_path_factory.mktemp("plain") / "run", PLAIN, "path='out.jsonl'")
    ended = run.ferris("run", *CALMLY)
    assert ended.returncode == 0, ended.stderr
    return run.output()["out.jsonl"]


@pytest.mark.parametrize("name", some_of(FORMS, {"latin", "zstd"}))
def test_every_form_gives_what_the_plain_one_gives_after_its_deaths(
    name: str, expected: bytes, tmp_path: Path, turn: slice
) -> None:
    run = Run(tmp_path / "run", FORMS[name], "path='out.jsonl.gz'")
    kill_and_finish(run, KILLS[turn])
    assert run.output() == {"out.jsonl.gz": expected}
    assert gzip.decompress((run.folder / "out.jsonl.gz").read_bytes()) == expected
    assert_audited(run)


@pytest.mark.parametrize("ending", some_of(["", ".gz", ".zst"], {".zst"}))
def test_rotated_output_is_whole_after_its_deaths(ending: str, expected: bytes, tmp_path: Path, turn: slice) -> None:
    run = Run(tmp_path / "run", PLAIN, f"path='out-{{n:03}}.jsonl{ending}', 'rotate.rows'=1500")
    kill_and_finish(run, KILLS[turn])
    found = run.output()
    assert b"".join(found.values()) == expected
    assert [data.count(b"\n") for data in found.values()][:-1] == [1500] * (len(found) - 1)
    assert not [name for name in found if name.endswith(".pending")]
    assert_audited(run)
