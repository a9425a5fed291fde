"""`ferris dlq`: dead letters listed, shown, sent again and erased."""

from __future__ import annotations

import base64
import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from tests.surfaces.conftest import Ferris

APPLICATION = """\
CREATE STREAM trades (ts TIMESTAMP, symbol TEXT, qty INTEGER, WATERMARK FOR ts AS ts)
WITH ('connector' = 'file', 'path' = 'trades.jsonl', 'max.record.bytes' = '1KB');

CREATE STREAM big WITH ('connector' = 'file', 'path' = 'big.jsonl', 'failure_strategy' = 'send_to_dlq') AS
SELECT symbol, 100 / CAST(symbol AS INTEGER) AS share, CASE WHEN qty = 9 THEN 'inf'::DOUBLE END AS ratio
FROM trades WHERE qty > 2;
"""

RECORDS = (
    b'{"ts": "2024-01-01T09:00:00Z", "symbol": "1", "qty": 5}\n',
    b'{"ts": "2024-01-01T09:00:01Z", "symbol": "2", "qty": "many"}\r\n',
    b'{"ts": "2024-01-01T09:00:02Z", "symbol": "three", "qty": 3}\n',
    b'{"ts": "2024-01-01T09:00:03Z", "symbol": "\xff", "qty": 3}\n',
    b'{"ts": "2024-01-01T09:00:04Z", "symbol": "5", "qty": 9}\n',
    b'{"symbol": "' + b"x" * 1024 + b'"}\n',
)


@pytest.fixture(scope="module")
def folder_after_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with five letters: two of decode, one of evaluate, one of an output row, one too large."""
    ferris = Ferris(tmp_path_factory.mktemp("run"))
    ferris.write(app__sql=APPLICATION)
    (ferris.folder / "trades.jsonl").write_bytes(b"".join(RECORDS))
    assert ferris("run", "app.sql").code == 0
    return ferris.folder


@pytest.fixture
def ran(ferris: Ferris, folder_after_run: Path) -> Ferris:
    """After that run, in a folder that was copied with its state."""
    shutil.copytree(folder_after_run, ferris.folder, dirs_exist_ok=True)
    return ferris


def listed(ferris: Ferris, *arguments: str) -> list[dict[str, object]]:
    done = ferris("dlq", "list", "app.sql", "-o", "json", *arguments)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["total"] >= len(found["letters"])
    return list(found["letters"])


@pytest.mark.parametrize(("sink", "letters"), [("stdout", 5), ("blackhole", 4)])
def test_letters_of_a_sink_without_a_file_lie_beside_the_application(ferris: Ferris, sink: str, letters: int) -> None:
    """Where nothing is encoded, no output row fails."""
    ferris.write(app__sql=APPLICATION.replace("'connector' = 'file', 'path' = 'big.jsonl'", f"'connector' = '{sink}'"))
    (ferris.folder / "trades.jsonl").write_bytes(b"".join(RECORDS))
    assert ferris("run", "app.sql").code == 0
    assert len(listed(ferris)) == letters
    assert (ferris.folder / "app.big.dlq.jsonl").exists()


def test_every_letter_has_its_headers_and_its_bytes(ran: Ferris) -> None:
    shown = json.loads(ran("dlq", "show", "app.sql", "-o", "json").out)["letters"]
    assert [one["headers"]["ferris.code"] for one in shown] == ["E2104", "E2107", "E2201", "E2401", "E2108"]
    values = [base64.b64decode(one["value"]) for one in shown]
    assert values[:3] == [RECORDS[1][:-1], RECORDS[3][:-1], RECORDS[2][:-1]]
    assert json.loads(values[3])["symbol"] == "5"
    evaluated = shown[2]["headers"]
    assert evaluated == evaluated | {
        "__connect.errors.topic": "trades.jsonl",
        "__connect.errors.partition": "0",
        "__connect.errors.offset": str(len(RECORDS[0] + RECORDS[1])),
        "__connect.errors.connector.name": "file",
        "__connect.errors.stage": "evaluate",
        "ferris.job": "app.big",
        "ferris.stage": "evaluate",
        "ferris.attempts": "1",
        "ferris.kind": "input",
    }
    assert evaluated["ferris.expression"] == '100 / CAST("symbol" AS INT)'
    assert "three" in evaluated["__connect.errors.exception.message"]
    assert evaluated["ferris.first_failed_at"] == evaluated["ferris.last_failed_at"]
    assert shown[4]["headers"]["ferris.value.truncated"] == "true"
    assert all(one["key"] is None for one in shown)


@pytest.mark.parametrize(
    ("arguments", "codes"),
    [
        (("--code", "e2104", "--code", "E2201"), ["E2104", "E2201"]),
        (("--stage", "decode", "--contains", "many"), ["E2104"]),
        (("--where", "value LIKE '%three%' AND attempts = 1"), ["E2201"]),
        (("--where", "last_failed_at > TIMESTAMP '2024-01-01' AND kind = 'output'"), ["E2401"]),
        (("--since", "1h", "--code", "E2107"), ["E2107"]),
        (("--until", "1h"), []),
        (("--since", "2999-01-01"), []),
        (("--state", "replayed"), []),
        (("--contains", "is not valid"), []),
        (("--limit", "1"), ["E2104"]),
    ],
    ids=" ".join,
)
def test_filter_narrows_what_is_meant(arguments: tuple[str, ...], codes: list[str], ran: Ferris) -> None:
    assert [one["code"] for one in listed(ran, *arguments)] == codes


@pytest.mark.parametrize(
    "condition", ["nosuch = 1", "value LIKE", "sum(replays) > 1", "id IN (SELECT 1)", "CAST(value AS INT) = 1", "1; 2"]
)
def test_condition_that_cannot_be_used_is_refused_with_the_columns(condition: str, ran: Ferris) -> None:
    done = ran("dlq", "list", "app.sql", "--where", condition)
    assert done.code == 1
    assert "[E3002]" in done.err
    assert "last_failed_at" in done.err


def test_replay_sends_the_original_bytes_once_and_says_what_stays(ran: Ferris) -> None:
    source = ran.folder / "trades.jsonl"
    before = source.read_bytes()
    dry = json.loads(ran("dlq", "replay", "app.sql", "--dry-run", "-o", "json").out)["jobs"][0]
    assert source.read_bytes() == before
    done = json.loads(ran("dlq", "replay", "app.sql", "-o", "json").out)["jobs"][0]
    assert dry == done | {"dry_run": True}
    assert done["replayed"] == 3
    assert sorted(reason.split(":")[0] for reason in done["left"]) == [
        "an output row",
        "only the beginning of the record was kept, because it is larger than the limit",
    ]
    again = ran("dlq", "replay", "app.sql")
    assert "big: 0 replayed" in again.out
    assert "3 left: was replayed before" in again.out
    assert source.read_bytes() == before + RECORDS[1] + RECORDS[3] + RECORDS[2]


def test_replayed_records_are_read_and_a_letter_that_comes_back_is_quarantined(ran: Ferris) -> None:
    for _ in range(2):
        assert ran("dlq", "replay", "app.sql", "--code", "E2201", "--set", "dlq.max_replays=2").code == 0
        assert ran("run", "app.sql").code == 0
    last = ran("dlq", "replay", "app.sql", "--code", "E2201", "--set", "dlq.max_replays=2")
    assert "big: 0 replayed" in last.out
    assert "quarantined: it came back after 2 replays" in last.out
    states = [(one["state"], one["replays"]) for one in listed(ran, "--code", "E2201", "--set", "dlq.max_replays=2")]
    assert states == [("replayed", 0), ("replayed", 1), ("quarantined", 2)]
    audit = ran("audit", "app.sql")
    assert audit.code == 0, audit.out


def test_replay_goes_to_another_file_where_it_is_told_to(ran: Ferris) -> None:
    assert ran("dlq", "replay", "app.sql", "--to", "again.jsonl", "--stage", "evaluate").code == 0
    assert (ran.folder / "again.jsonl").read_bytes() == RECORDS[2]
    assert (ran.folder / "trades.jsonl").read_bytes() == b"".join(RECORDS)


@pytest.mark.parametrize("target", ["big.jsonl", "app.big.dlq.jsonl", "."])
def test_replay_into_a_file_that_a_job_writes_is_refused(target: str, ran: Ferris) -> None:
    before = (ran.folder / "big.jsonl").read_bytes()
    done = ran("dlq", "replay", "app.sql", "--to", target)
    assert done.code == 1
    assert "[E4006]" in done.err
    assert (ran.folder / "big.jsonl").read_bytes() == before


def test_replay_without_a_file_that_takes_records_back_is_refused(ferris: Ferris) -> None:
    text = APPLICATION.replace("'path' = 'trades.jsonl'", "'path' = 'trades*.jsonl'")
    ferris.write(app__sql=text)
    (ferris.folder / "trades1.jsonl").write_bytes(RECORDS[2])
    assert ferris("run", "app.sql").code == 0
    done = ferris("dlq", "replay", "app.sql")
    assert done.code == 1
    assert "[E4006]" in done.err
    assert "--to" in done.err


def test_purge_asks_only_on_a_terminal(ran: Ferris) -> None:
    done = ran("dlq", "purge", "app.sql")
    assert done.code == 2
    assert "--yes" in done.err
    assert len(listed(ran)) == 5


def test_purged_letters_are_gone_and_everything_is_accounted_for(ran: Ferris) -> None:
    assert (
        "2 would be purged"
        in ran("dlq", "purge", "app.sql", "--stage", "evaluate", "--stage", "encode", "--dry-run").out
    )
    assert "2 purged" in ran("dlq", "purge", "app.sql", "--stage", "evaluate", "--stage", "encode", "--yes").out
    assert [one["code"] for one in listed(ran)] == ["E2104", "E2107", "E2108"]
    assert b"three" not in (ran.folder / "app.big.dlq.jsonl").read_bytes()
    with (ran.folder / "trades.jsonl").open("ab") as file:
        file.write(RECORDS[2])
    assert ran("run", "app.sql").code == 0
    assert [one["code"] for one in listed(ran)] == ["E2104", "E2107", "E2108", "E2201"]
    audit = ran("audit", "app.sql")
    assert audit.code == 0, audit.out


def test_new_beginning_forgets_what_was_replayed(ran: Ferris) -> None:
    ran("dlq", "replay", "app.sql", "--to", "again.jsonl")
    assert ran("run", "app.sql", "--overwrite", "--yes").code == 0
    assert {one["state"] for one in listed(ran)} == {"waiting"}


def test_table_and_csv_have_a_line_for_each_letter(ran: Ferris) -> None:
    lines = ran("dlq", "list", "app.sql").out.splitlines()
    assert len(lines) == 2 + 5
    rows = list(csv.reader(io.StringIO(ran("dlq", "list", "app.sql", "-o", "csv").out)))
    assert rows[0][:4] == ["job", "id", "state", "code"]
    assert len(rows) == 1 + 5
    assert '"many" is not of type INTEGER' in ran("dlq", "show", "app.sql", "--code", "E2104").out


def test_application_without_letters_says_so(ferris: Ferris) -> None:
    ferris.write(app__sql=APPLICATION)
    for command in (("list",), ("replay",), ("purge", "--yes")):
        done = ferris("dlq", command[0], "app.sql", *command[1:])
        assert done.code == 0
        assert "no dead letters of big" in done.err
    assert ferris("dlq", "show", "app.sql", "--id", "1.2").code == 1
    assert sorted(path.name for path in ferris.folder.iterdir()) == ["app.sql"]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("list",),
        ("list", "none.sql"),
        ("list", "app.sql", "--since", "soon"),
        ("list", "app.sql", "--state", "lost"),
    ],
    ids=" ".join,
)
def test_wrong_usage_of_dlq_ends_with_two(arguments: tuple[str, ...], ferris: Ferris) -> None:
    ferris.write(app__sql=APPLICATION)
    assert ferris("dlq", *arguments).code == 2


@pytest.mark.parametrize("name", ["list", "show", "replay", "purge"])
def test_help_of_a_dlq_command_has_an_example(name: str, ferris: Ferris) -> None:
    assert f"Example:  ferris dlq {name}" in ferris("dlq", name, "--help").out


def test_replay_reaches_a_job_that_runs(ferris: Ferris) -> None:
    ferris.write(app__sql=APPLICATION.replace("'path' = 'trades.jsonl'", "'path' = 'trades.jsonl', 'watch' = 'true'"))
    (ferris.folder / "trades.jsonl").write_bytes(RECORDS[0] + RECORDS[2])
    process = ferris.start("run", "app.sql")
    letters = "app.big.dlq.jsonl"
    ferris.wait_for(process, letters, 1)
    for _ in range(100):
        if len(listed(ferris)) == 1:
            break
    done = ferris("dlq", "replay", "app.sql")
    assert "big: 1 replayed" in done.out, done.out + done.err
    ferris.wait_for(process, letters, 2)
    process.terminate()
    assert process.wait(30) == 0
    assert [(one["state"], one["replays"]) for one in listed(ferris)] == [("replayed", 0), ("waiting", 1)]
    assert ferris("audit", "app.sql").code == 0
