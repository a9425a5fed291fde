"""Until the first epoch of a job is final, nothing counts: a killed start keeps no other query from starting over, and
what `--overwrite` replaces is whole again when the start fails."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

from tests.broker import Cluster
from tests.surfaces.conftest import Ferris

ROWS = "k,v\na,1\nb,2\n"
BROKEN = "k,v\na,odd\n"
OUTPUTS = {
    "csv": "path='out.csv'",
    "lines": "path='out.csv', format='json'",
    "packed": "path='out.csv.gz'",
    "rotated": "path='out-{n}.csv', 'rotate.rows'=1",
    "appended": "path='out.csv', 'append'='true'",
}
SELECTS = {"first": "k FROM s", "another": "k, sum(v) AS total FROM s WHERE v > 0 GROUP BY k EMIT CHANGES"}


def write(ferris: Ferris, output: str, select: str, columns: str = "k TEXT, v INT", more: str = "") -> None:
    (ferris.folder / "app.sql").write_text(
        f"CREATE STREAM s ({columns}) WITH (connector='file', path='in.csv', format='csv');\n"
        f"CREATE STREAM out WITH (connector='file', {output}{more}) AS SELECT {select};\n"
    )


def held(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name not in ("app.sql", "in.csv")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def outputs(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in held(folder).items() if not name.startswith(".")}


@pytest.mark.parametrize(
    ("point", "output"), [("after_read:1", "csv"), *(("after_flush:2", output) for output in OUTPUTS)]
)
def test_another_query_starts_over_a_killed_first_epoch(point: str, output: str, ferris: Ferris) -> None:
    (ferris.folder / "in.csv").write_text(ROWS)
    if output == "appended":
        (ferris.folder / "out.csv").write_text("mine\n")
    before = outputs(ferris.folder)
    write(ferris, OUTPUTS[output], SELECTS["another"], columns="k TEXT, v BIGINT")
    expected = ferris("run", "app.sql", "--state-dir", "undisturbed")
    assert expected.code == 0, expected.err
    undisturbed = {name: data for name, data in outputs(ferris.folder).items() if not name.startswith("undisturbed")}
    for name in undisturbed:
        (ferris.folder / name).unlink()
    for name, data in before.items():
        (ferris.folder / name).write_bytes(data)

    write(ferris, OUTPUTS[output], SELECTS["first"])
    assert ferris("run", "app.sql", FERRIS_FAULT=point).code == -9
    write(ferris, OUTPUTS[output], SELECTS["another"], columns="k TEXT, v BIGINT")
    ran = ferris("run", "app.sql", "-o", "json")
    assert ran.code == 0, ran.err
    assert ran.job["ledger"]["written"] == 2
    found = {name: data for name, data in outputs(ferris.folder).items() if not name.startswith("undisturbed")}
    assert found == undisturbed
    assert ferris("run", "app.sql", "-o", "json").job["rows"] == 0
    assert ferris("audit", "app.sql").code == 0


def test_another_query_after_a_final_epoch_is_refused(ferris: Ferris) -> None:
    (ferris.folder / "in.csv").write_text(ROWS)
    write(ferris, OUTPUTS["lines"], SELECTS["another"])
    assert ferris("run", "app.sql", FERRIS_FAULT="before_confirm:2").code == -9
    write(ferris, OUTPUTS["lines"], SELECTS["another"].replace("> 0", "> 1"))
    refused = ferris("run", "app.sql", "-o", "json")
    assert (refused.code, refused.job["error"]["code"]) == (1, "E5002")


def test_start_over_that_is_refused_changes_nothing(ferris: Ferris) -> None:
    """The state stays that of the first query, whose positions belong to another source."""
    (ferris.folder / "in.csv").write_text(ROWS)
    write(ferris, OUTPUTS["csv"], SELECTS["first"])
    assert ferris("run", "app.sql", FERRIS_FAULT="after_read:1").code == -9
    text = (ferris.folder / "app.sql").read_text()
    (ferris.folder / "app.sql").write_text(text.replace("in.csv", "none.csv"))
    assert ferris("run", "app.sql", "-o", "json").job["error"]["code"] == "E4001"
    (ferris.folder / "app.sql").write_text(text.replace("in.csv", "other.csv"))
    (ferris.folder / "other.csv").write_text("k,v\nc,3\n")
    assert ferris("run", "app.sql").code == 0
    assert (ferris.folder / "out.csv").read_text() == "k\nc\n"


@pytest.mark.parametrize("killed", [False, True])
def test_another_output_is_not_taken_for_an_empty_one(killed: bool, ferris: Ferris) -> None:
    (ferris.folder / "in.csv").write_text("k,v\n")
    write(ferris, OUTPUTS["lines"], "k FROM s")
    ran = ferris("run", "app.sql", **({"FERRIS_FAULT": "after_read:1"} if killed else {}))
    assert ran.code == (0 if not killed or ran.code == 0 else -9)
    (ferris.folder / "precious.jsonl").write_text('{"mine": 1}\n')
    write(ferris, "path='precious.jsonl'", "k FROM s")
    refused = ferris("run", "app.sql", "-o", "json")
    assert refused.job["error"]["code"] == "E4004"
    assert (ferris.folder / "precious.jsonl").read_text() == '{"mine": 1}\n'


@pytest.mark.parametrize("output", ["csv", "lines", "packed", "rotated"])
@pytest.mark.parametrize("failure", ["row", "source"])
def test_overwriting_start_that_fails_leaves_what_was_there(failure: str, output: str, ferris: Ferris) -> None:
    letters = ", 'failure_strategy'='send_to_dlq', 'dlq.path'='letters.jsonl'"
    (ferris.folder / "in.csv").write_text(ROWS + "c,odd\n")
    write(ferris, OUTPUTS[output], "k FROM s", more=letters)
    assert ferris("run", "app.sql").code == 0
    before = held(ferris.folder)
    assert len(before) >= 4
    if failure == "row":
        (ferris.folder / "in.csv").write_text(BROKEN)
        write(ferris, OUTPUTS[output], "v, k FROM s", more=letters + ", 'dlq.max_consecutive'=1")
    else:
        (ferris.folder / "in.csv").unlink()
    refused = ferris("run", "app.sql", "--overwrite", "--yes", "-o", "json")
    assert refused.job["error"]["code"] == ("E6003" if failure == "row" else "E4001")
    after = held(ferris.folder)
    assert after.keys() == before.keys()
    assert {name: data for name, data in after.items() if ".ferris/" not in name} == {
        name: data for name, data in before.items() if ".ferris/" not in name
    }
    (ferris.folder / "in.csv").write_text(ROWS + "c,odd\nd,4\n")
    write(ferris, OUTPUTS[output], "k FROM s", more=letters)
    assert ferris("run", "app.sql", "-o", "json").job["rows"] == 1  # the state is the old one, too


@pytest.mark.parametrize("output", ["csv", "packed", "rotated"])
def test_killed_overwriting_start_is_finished_by_the_next(output: str, ferris: Ferris) -> None:
    (ferris.folder / "in.csv").write_text(ROWS)
    write(ferris, OUTPUTS[output], "k FROM s")
    assert ferris("run", "app.sql").code == 0
    (ferris.folder / "in.csv").write_text("k,v\nz,9\n")
    assert ferris("run", "app.sql", "--overwrite", "--yes", FERRIS_FAULT="after_write:1").code == -9
    assert any(".replaced/" in name for name in held(ferris.folder))
    assert ferris("run", "app.sql", "-o", "json").job["ledger"]["written"] == 1
    assert not any(".replaced" in str(path) for path in ferris.folder.rglob("*"))
    if output == "csv":
        assert (ferris.folder / "out.csv").read_text() == "k\nz\n"


def test_overwriting_keeps_the_rights_of_the_file(ferris: Ferris) -> None:
    (ferris.folder / "in.csv").write_text(ROWS)
    write(ferris, OUTPUTS["csv"], "k FROM s")
    assert ferris("run", "app.sql").code == 0
    (ferris.folder / "out.csv").chmod(0o640)
    assert ferris("run", "app.sql", "--overwrite", "--yes").code == 0
    assert (ferris.folder / "out.csv").stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in ferris.folder.iterdir()) == [".ferris", "app.sql", "in.csv", "out.csv"]


def test_other_columns_under_the_header_of_a_file_are_refused(ferris: Ferris) -> None:
    (ferris.folder / "in.csv").write_text(ROWS)
    write(ferris, OUTPUTS["csv"], "k FROM s")
    assert ferris("run", "app.sql").code == 0
    (ferris.folder / "in.csv").write_text(ROWS + "c,3\n")
    write(ferris, OUTPUTS["csv"], "v, k FROM s")
    refused = ferris("run", "app.sql", "-o", "json").job["error"]
    assert (refused["code"], "header k, and the query writes the header v,k now" in refused["message"]) == (
        "E5003",
        True,
    )
    write(ferris, OUTPUTS["csv"], "k FROM s")
    assert ferris("run", "app.sql").code == 0
    assert (ferris.folder / "out.csv").read_text() == "k\na\nb\nc\n"


def write_copy(ferris: Ferris, kafka: Cluster, topic_name: str) -> None:
    """An application that copies `ROWS` into the topic."""
    (ferris.folder / "in.csv").write_text(ROWS)
    (ferris.folder / "app.sql").write_text(
        f"-- @app: {topic_name}\n"
        "CREATE STREAM s (k TEXT, v INT) WITH (connector='file', path='in.csv', format='csv');\n"
        f"CREATE STREAM out WITH (connector='kafka', topic='{topic_name}', 'create.topic'='true',"
        f" 'bootstrap.servers'='{kafka.bootstrap_servers}') AS SELECT k FROM s;\n"
    )


def test_state_whose_decider_refuses_to_start_over_is_put_back(ferris: Ferris, kafka: Cluster, topic_name: str) -> None:
    write_copy(ferris, kafka, topic_name)
    assert ferris("run", "app.sql").code == 0
    refused = ferris("run", "app.sql", "--overwrite", "--yes", "-o", "json")
    assert refused.job["error"]["code"] == "E5003"
    (ferris.folder / "in.csv").write_text(ROWS + "c,3\n")
    assert ferris("run", "app.sql", "-o", "json").job["rows"] == 1
    assert len(kafka.read(topic_name)) == 3


@pytest.mark.parametrize(("epoch", "days"), [(1, 0), (1, 2), (2, 0)])
def test_epoch_that_was_prepared_and_not_decided_is_done_again(
    epoch: int, days: int, ferris: Ferris, kafka: Cluster, topic_name: str
) -> None:
    write_copy(ferris, kafka, topic_name)
    assert ferris("run", "app.sql", FERRIS_FAULT=f"after_prepare:{epoch}").code == -9
    (state,) = (ferris.folder / ".ferris").rglob("*.duckdb")
    with duckdb.connect(str(state)) as connection:
        rows = connection.sql("SELECT epoch, content, confirmed FROM state.epochs ORDER BY epoch DESC").fetchall()
        assert [(row[0], row[2]) for row in rows[:1]] == [(epoch, False)]
        at = {**json.loads(rows[0][1])}
        at["at_us"] -= days * 24 * 3600 * 1_000_000
        connection.execute("UPDATE state.epochs SET content = $1 WHERE epoch = $2", [json.dumps(at), epoch])
    ran = ferris("run", "app.sql", "-o", "json")
    assert ran.code == 0, ran.err
    assert ran.job["ledger"]["written"] == 2
    assert len(kafka.read(topic_name)) == 2
