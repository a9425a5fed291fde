"""An application's folder that was moved, copied, restored or is reached by another name resumes where it stopped."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from ferrisstreams.batch import Limit
from ferrisstreams.clock import ManualClock
from ferrisstreams.connectors.file import file_source_settings
from ferrisstreams.connectors.file_source import FileSource
from ferrisstreams.errors import FatalConnectorError
from ferrisstreams.memory_file import MemoryFile
from ferrisstreams.session.application import Application, JobResult, RunOptions
from ferrisstreams.session.audit import audit
from ferrisstreams.session.state import builder_of


@dataclass(frozen=True)
class Form:
    """What the job reads and writes: settings of source and sink, the file that grows, how text becomes its bytes."""

    source: str
    sink: str = "path='out.jsonl'"
    grows: str = "in/b.jsonl"
    packed: Callable[[bytes], bytes] = bytes
    columns: str = "(id BIGINT)"

    def write(self, project: Path, name: str, *ids: int | str) -> None:
        lines = "".join(f'{{"id": {row}, "padding": "{"x" * 600}"}}\n' for row in ids)
        path = project / "app" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(self.packed(lines.encode()))


FORMS = {
    "file": Form("path='in/b.jsonl'"),
    "glob": Form("path='in/*.jsonl'"),
    "glob of folders": Form("path='**/*.jsonl'", "path='../out.jsonl'"),
    "watched": Form("path='in/*.jsonl', watch=true"),
    "packed": Form("path='in/*.gz'", "path='out.jsonl.gz'", "in/b.jsonl.gz", gzip.compress),
    "above": Form("path='../data/b.jsonl'", "path='../data/out.jsonl'", "../data/b.jsonl"),
    "inferred": Form("path='in/b.jsonl'", columns=""),
    "rotated": Form("path='in/b.jsonl'", "path='out/%Y/part-{n:03}.jsonl', 'rotate.rows'=2"),
}


def create(project: Path, form: Form, ids: Sequence[int | str] = (4, 5, '"bad"')) -> None:
    if form.grows.startswith("in/"):
        form.write(project, form.grows.replace("b.", "a."), 1, 2, 3)
    form.write(project, form.grows, *ids)
    (project / "app" / "app.sql").write_text(
        f"CREATE STREAM rows {form.columns} WITH (connector='file', {form.source});\n"
        f"CREATE STREAM copy WITH (connector='file', {form.sink}, 'failure_strategy'='send_to_dlq')"
        " AS SELECT id FROM rows;\n"
    )


def run(project: Path) -> JobResult:
    application = Application.read(project / "app" / "app.sql")
    (result,) = application.run(options=RunOptions(once=True)).jobs
    return result


def audited(project: Path) -> bool:
    application = Application.read(project / "app" / "app.sql")
    return all(report.ok for report in audit(application, RunOptions()))


def written(project: Path) -> dict[str, bytes]:
    """Everything that the job writes for others."""
    files = [path for path in project.rglob("*") if path.is_file() and ".ferris" not in path.parts]
    return {
        str(path.relative_to(project)): path.read_bytes()
        for path in files
        if path.name.startswith(("out", "part-")) or path.name.endswith(".dlq.jsonl")
    }


def moved(project: Path) -> Path:
    return project.rename(project.with_name("moved"))


def copied(project: Path) -> Path:
    return Path(shutil.copytree(project, project.with_name("copied")))


def restored(project: Path) -> Path:
    archive = project.with_name("archive.tar")
    with tarfile.open(archive, "w") as tar:
        tar.add(project, "project")
    shutil.rmtree(project)
    with tarfile.open(archive) as tar:
        tar.extractall(project.with_name("elsewhere"), filter="data")
    return project.with_name("elsewhere") / "project"


def linked(project: Path) -> Path:
    link = project.with_name("link")
    link.symlink_to(project)
    return link


#: Every form is copied, which gives all files other inodes; the other changes are tried on what they could break.
CHANGES = [
    *((copied, name) for name in FORMS),
    *((moved, name) for name in ("glob", "rotated")),
    *((restored, name) for name in ("watched", "rotated")),
    *((linked, name) for name in ("glob", "above")),
]


@pytest.mark.parametrize(("change", "name"), CHANGES)
def test_nothing_is_written_twice_and_what_is_new_is_read(
    tmp_path: Path, change: Callable[[Path], Path], name: str
) -> None:
    project, form = tmp_path / "project", FORMS[name]
    create(project, form)
    first = run(project)
    assert first.error is None
    before, read = written(project), first.ledger.read
    project = change(project)
    again = run(project)
    assert (again.state, again.rows, again.error) == ("finished", 0, None)
    assert written(project) == before
    form.write(project, form.grows, 7)
    assert run(project).rows == 1
    after = written(project)
    form.write(project, form.grows, 8, '"bad too"')
    project = tmp_path / "project" if change is linked else project.rename(project.with_name("once more"))
    assert run(project).ledger.read == read + 3
    assert audited(project)
    assert all(content.startswith(before.get(name, b"")) for name, content in after.items())


@pytest.mark.parametrize("name", ["file", "watched"])
def test_restored_file_that_begins_the_same_and_is_shorter_is_refused(tmp_path: Path, name: str) -> None:
    project, form = tmp_path / "project", FORMS[name]
    create(project, form)
    form.write(project, form.grows, *range(10, 20))
    assert run(project).error is None
    before = written(project)
    project = copied(project)
    grown = project / "app" / form.grows
    lines = grown.read_bytes().splitlines(keepends=True)
    grown.write_bytes(b"".join(lines[:2]))
    result = run(project)
    assert isinstance(result.error, FatalConnectorError)
    assert result.error.code == "E4002"
    assert f"{grown} shrank to {grown.stat().st_size} bytes" in result.error.message
    assert written(project) == before


def old_position(path: Path, offset: int, done: str = "") -> dict[str, object]:
    """As it was written when positions had absolute paths."""
    import hashlib

    head = path.read_bytes()[: min(1024, offset)]
    return {
        "path": str(path),
        "inode": path.stat().st_ino,
        "head": {"bytes": len(head), "sha256": hashlib.sha256(head).hexdigest()},
        "offset": offset,
        "whole": True,
        "done": done,
        "raw": offset,
        "restart": [0, 0],
        "before": [],
    }


@pytest.mark.parametrize("watch", [False, True])
def test_position_of_a_state_of_before_is_recognised_in_a_moved_folder(tmp_path: Path, watch: bool) -> None:
    import hashlib

    form = FORMS["watched" if watch else "glob"]
    project = tmp_path / "project"
    create(project, form)
    folder = project / "app" / "in"
    sizes = {name: (folder / name).stat().st_size for name in ("a.jsonl", "b.jsonl")}
    digest = hashlib.sha256(f"{sizes['a.jsonl']} {folder / 'a.jsonl'}".encode()).hexdigest()[:6]
    names = ("a.jsonl", "b.jsonl") if watch else ("b.jsonl",)
    old = {name: old_position(folder / name, sizes[name], "" if watch else digest) for name in names}
    positions = json.loads(json.dumps(old if watch else {"*.jsonl": old["b.jsonl"]}))
    project = restored(project)
    form.write(project, form.grows, 7)
    application = Application.read(project / "app" / "app.sql")
    block = MemoryFile()
    with builder_of(application, RunOptions(), application.plan.jobs[0]) as builder:
        source = FileSource(file_source_settings(builder.source_context()), block, ManualClock())
    source.check(positions, {})
    source.open(positions)
    fetch = source.poll(Limit(100, 10**9))
    assert fetch is not None
    assert (fetch.offset, block.read().count(b"\n")) == (sizes["b.jsonl"], 1)
    assert source.poll(Limit(100, 10**9)) is None
    position = fetch.position
    assert isinstance(position, dict)
    assert position["path"] == "b.jsonl"
    source.close()
    source.open({fetch.partition: position} if not watch else positions | {fetch.partition: position})
    assert source.poll(Limit(100, 10**9)) is None
    source.close()
    block.close()


@pytest.mark.parametrize("inside", [True, False])
def test_state_kept_elsewhere_is_found_by_a_moved_folder(tmp_path: Path, inside: bool) -> None:
    project = tmp_path / "project"
    form = FORMS["inferred"]
    form.write(project, form.grows, 1, 2, 3)
    create(project, form, ())
    root = str(project / "kept") if inside else str(tmp_path / "kept")

    def run_there(project: Path, root: str) -> JobResult:
        application = Application.parse((project / "app/app.sql").read_text(), str(project / "app/app.sql"), root)
        (result,) = application.run(options=RunOptions(once=True, state_dir=root)).jobs
        assert [found.kept for found in application.found_columns] == [project.name != "project"]
        return result

    assert run_there(project, root).rows == 3
    project = moved(project)
    form.write(project, form.grows, '"text, which other columns would take"')
    again = run_there(project, root.replace("project", "moved"))
    assert (again.rows, again.ledger.dead_lettered) == (1, 1)


def test_columns_kept_by_absolute_paths_are_recognised_in_a_copy(tmp_path: Path) -> None:
    project, form = tmp_path / "project", FORMS["inferred"]
    create(project, form, (1, 2))
    run(project)
    kept = project / "app" / ".ferris" / "columns.json"
    former = {f"json {project}/app/in/b.jsonl": next(iter(json.loads(kept.read_text()).values()))}
    kept.write_text(json.dumps(former))
    project = copied(project)
    form.write(project, form.grows, '"text, which other columns would take"')
    result = run(project)
    assert (result.rows, result.ledger.skipped + result.ledger.dead_lettered) == (1, 1)
    assert "json in/b.jsonl" in json.loads((project / "app" / ".ferris" / "columns.json").read_text())


def test_replaced_output_is_refused_and_a_copy_of_it_is_not(tmp_path: Path) -> None:
    project = tmp_path / "project"
    form = FORMS["file"]
    create(project, form)
    run(project)
    out = project / "app" / "out.jsonl"
    shutil.copy(out, project / "copy")
    os.replace(project / "copy", out)
    assert run(project).error is None
    out.write_bytes(b'{"id":40}\n' * 10)
    error = run(project).error
    assert error is not None
    assert error.code == "E5003"
