"""Two jobs never write one file, and nothing that was written is given up without a question."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from ferrisstreams.batch import Payload
from ferrisstreams.connectors.file_sink import FileSink, FileSinkSettings
from ferrisstreams.connectors.output_claim import claim_path, final_length
from ferrisstreams.errors import ConfigError, FatalConnectorError
from ferrisstreams.session.application import Application, RunOptions
from tests.surfaces.conftest import Ferris

READ = "CREATE STREAM given (id BIGINT) WITH (connector='file', path='in/*.jsonl');\n"
DLQ = "'failure_strategy'='send_to_dlq'"
ROTATED = "'rotate.rows'=5"

#: Settings of two jobs that would write one file.
SHARED = [
    ("path='out.jsonl'", "path='out.jsonl'"),
    ("path='out.jsonl'", "path='./in/../out.jsonl'"),
    ("path='out.jsonl'", "path='link.jsonl'"),
    ("path='out.jsonl'", "path='linked/out.jsonl'"),
    (f"path='a.jsonl', {DLQ}, 'dlq.path'='out.jsonl'", "path='out.jsonl'"),
    (f"path='a.jsonl', {DLQ}, 'dlq.path'='bad.jsonl'", f"path='b.jsonl', {DLQ}, 'dlq.path'='linked/bad.jsonl'"),
    (f"path='part-{{n}}.jsonl', {ROTATED}", f"path='linked/part-{{n:03}}.jsonl', {ROTATED}"),
    (f"path='part-{{n}}.jsonl', {ROTATED}", "path='part-7.jsonl'"),
    ("path='part-7.jsonl'", f"path='part-{{n}}.jsonl', {ROTATED}"),
]


def application(folder: Path, *sinks: str) -> Application:
    (folder / "in").mkdir(exist_ok=True)
    (folder / "in" / "a.jsonl").write_text('{"id":1}\n')
    if not (folder / "linked").exists():
        (folder / "linked").symlink_to(folder)
        (folder / "link.jsonl").symlink_to(folder / "out.jsonl")
    jobs = "".join(
        f"CREATE STREAM job{number} WITH (connector='file', {sink}) AS SELECT id FROM given;\n"
        for number, sink in enumerate(sinks)
    )
    return Application.parse(READ + jobs, str(folder / "app.sql"))


@pytest.mark.parametrize("sinks", SHARED)
def test_two_jobs_of_an_application_that_would_write_one_file_are_refused(
    tmp_path: Path, sinks: tuple[str, str]
) -> None:
    shared = application(tmp_path, *sinks)
    for run in (shared.check, lambda: shared.run(options=RunOptions(jobs=("job1",)))):
        with pytest.raises(ConfigError, match="would be written to one file") as caught:
            run()
        assert (caught.value.code, caught.value.position.line if caught.value.position else 0) == ("E3003", 3)
    assert not (tmp_path / ".ferris").exists()


@pytest.mark.parametrize(
    "sink", ["path='in/out.jsonl'", "path='linked/in/a.jsonl'", f"path='x', {DLQ}, 'dlq.path'='in/l.jsonl'"]
)
def test_job_that_would_read_what_it_writes_is_refused(tmp_path: Path, sink: str) -> None:
    with pytest.raises(ConfigError, match="would read the"):
        application(tmp_path, sink).check()


def test_jobs_with_outputs_of_their_own_pass(tmp_path: Path) -> None:
    sinks = ("path='a.jsonl'", f"path='b.jsonl', {DLQ}", f"path='p-{{n}}', {ROTATED}", f"path='q-{{n}}', {ROTATED}")
    assert application(tmp_path, *sinks, "path='/dev/null'", "path='/dev/null'").check() == []


@pytest.mark.parametrize("spelling", ["out.jsonl", "linked/out.jsonl", "link.jsonl"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_file_that_another_job_writes_is_left_alone(tmp_path: Path, spelling: str, overwrite: bool) -> None:
    application(tmp_path, "path='out.jsonl'")
    path = tmp_path / "out.jsonl"
    first = FileSink(FileSinkSettings(str(path)))
    first.open(None)
    first.write(Payload(b"one\n", 1))
    first.confirm(first.flush())
    second = application(tmp_path, f"path='{spelling}'")
    options = RunOptions(state_dir=str(tmp_path / "elsewhere"), overwrite=overwrite)
    error = second.run(options=options).jobs[0].error
    assert isinstance(error, FatalConnectorError)
    assert (error.code, path.read_bytes()) == ("E4008", b"one\n")
    first.close()
    assert not Path(claim_path(str(path))).exists()
    assert path.read_bytes() == b"one\n"


def test_killed_job_frees_its_file_and_leaves_what_is_final(ferris: Ferris) -> None:
    ferris.write(
        in__jsonl="".join(f'{{"id":{row}}}\n' for row in range(10)),
        app__sql="CREATE STREAM given (id BIGINT) WITH (connector='file', path='in.jsonl',"
        " 'batch.strategy'='fixed_size', 'batch.size'=4);\n"
        "CREATE STREAM out WITH (connector='file', path='out.jsonl', 'commit.policy'='per_batch')"
        " AS SELECT id FROM given;\n",
    )
    out = ferris.folder / "out.jsonl"
    assert ferris("run", "app.sql", FERRIS_FAULT="after_flush:3").code == -signal.SIGKILL
    size, final = out.stat().st_size, final_length(str(out))
    assert final is not None
    assert 0 < final < size
    assert ferris("run", "app.sql").code == 0
    assert final_length(str(out)) is None
    assert [row["id"] for row in ferris.lines("out.jsonl")] == list(range(10))


def test_overwrite_of_a_job_that_has_a_state_wants_a_yes_off_a_terminal(ferris: Ferris) -> None:
    ferris.write(
        in__jsonl='{"id":1}\n',
        app__sql="CREATE STREAM given (id BIGINT) WITH (connector='file', path='in.jsonl');\n"
        "CREATE STREAM out WITH (connector='file', path='out.jsonl') AS SELECT id FROM given;\n",
        out__jsonl="precious\n",
    )
    assert "E4004" in ferris("run", "app.sql").err
    assert ferris("run", "app.sql", "--overwrite").code == 0, "without a state there is nothing to give up"
    refused = ferris("run", "app.sql", "--overwrite")
    assert refused.code == 2
    assert "deletes the state of out" in refused.err
    assert "--yes" in refused.err
    assert ferris("run", "app.sql", "-o", "json").job["rows"] == 0
    anew = ferris("run", "app.sql", "--overwrite", "--yes", "-o", "json")
    assert (anew.code, anew.job["rows"], ferris.lines("out.jsonl")) == (0, 1, [{"id": 1}])
