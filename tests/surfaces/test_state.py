"""`ferris state`: what a job keeps, shown, and given up so that the job begins anew."""

from __future__ import annotations

import json

import pytest

from tests.surfaces.conftest import Ferris

APPLICATION = """\
CREATE STREAM trades (ts TIMESTAMP, symbol TEXT, qty INTEGER, WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
WITH ('connector' = 'file', 'path' = 'trades.jsonl');
CREATE STREAM counts WITH ('connector' = 'file', 'path' = 'counts.jsonl') AS
SELECT symbol, count(*) AS n FROM trades GROUP BY symbol EMIT CHANGES;
"""

RECORDS = "".join(f'{{"ts": "2024-01-01T09:00:0{n}Z", "symbol": "s{n % 2}", "qty": {n}}}\n' for n in range(5))


@pytest.fixture
def ran(ferris: Ferris) -> Ferris:
    ferris.write(app__sql=APPLICATION, trades__jsonl=RECORDS)
    assert ferris("run", "app.sql").code == 0
    return ferris


def test_state_is_shown(ran: Ferris) -> None:
    shown = json.loads(ran("state", "show", "app.sql", "-o", "json").out)["jobs"][0]
    assert (shown["job"], shown["rows"], shown["watermark"]) == ("counts", 2, "2024-01-01T09:00:03Z")
    assert (shown["confirmed"], shown["token"], shown["ledger"]["absorbed"]) == (True, None, 5)
    assert shown["positions"]["trades.jsonl"]["offset"] == len(RECORDS)
    table = ran("state", "show", "app.sql").out
    assert "position of trades.jsonl" in table
    assert shown["state_id"] in table


def test_job_that_was_reset_begins_anew(ran: Ferris) -> None:
    done = ran("state", "reset", "app.sql", "--yes")
    assert done.code == 0
    assert "counts: deleted" in done.out
    assert not (ran.folder / ".ferris" / "app" / "counts").exists()
    refused = ran("run", "app.sql")
    assert refused.code == 1
    assert "--overwrite" in refused.err
    again = ran("run", "app.sql", "--overwrite", "-o", "json")
    assert again.job["ledger"]["read"] == 5


def test_reset_asks_first(ran: Ferris) -> None:
    done = ran("state", "reset", "app.sql")
    assert done.code == 2
    assert "--yes" in done.err
    assert (ran.folder / ".ferris" / "app" / "counts" / "state.duckdb").exists()


def test_state_that_is_not_there_or_in_use_is_an_error(ferris: Ferris) -> None:
    ferris.write(
        app__sql=APPLICATION.replace("'trades.jsonl'", "'trades.jsonl', 'watch' = true"), trades__jsonl=RECORDS
    )
    missing = ferris("state", "show", "app.sql")
    assert missing.code == 1
    assert "E5003" in missing.err
    assert "nothing to do" in ferris("state", "reset", "app.sql", "--yes").out
    ferris.wait_for(ferris.start("run", "app.sql"), "counts.jsonl", 2)
    for arguments in (("show", "app.sql"), ("reset", "app.sql", "--yes")):
        held = ferris("state", *arguments)
        assert held.code == 1
        assert "E5001" in held.err


def test_select_alone_keeps_none(ferris: Ferris) -> None:
    ferris.write(app__sql=APPLICATION.split("CREATE STREAM counts")[0] + "SELECT * FROM trades;")
    assert ferris("state", "show", "app.sql").code == 2
