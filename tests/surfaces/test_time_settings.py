"""Every key about time is obeyed: with its source, in the job for that source, and in the job for all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ferrisstreams.errors import FerrisError
from ferrisstreams.runtime.build import JobBuilder
from ferrisstreams.runtime.observer import Silent
from ferrisstreams.session.application import Application, JobResult, RunOptions

PLACES = ("source", "job for the source", "job for all")

ROWS = (
    {"at": "2024-01-01T00:00:05Z", "ms": 1_704_067_205_000, "day": "01/02/2024"},
    {"at": "2024-01-01T00:01:05Z", "ms": 1_704_067_265_000, "day": "01/02/2024"},
    {"at": "2024-01-01T00:00:55Z", "ms": 1_704_067_255_000, "day": "02/02/2024"},
    {"at": "2999-01-01T00:00:00Z", "ms": 32_472_144_000_000, "day": "03/02/2024"},
)
QUERY = "SELECT window_start, count(*) AS n, max(day) AS day FROM rows GROUP BY TUMBLE(INTERVAL '1' MINUTE)"


def application(folder: Path, keys: dict[str, str], place: str, columns: str) -> Application:
    """The rows, counted by minute. `at` is the event time unless `keys` say otherwise."""
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), "utf-8")
    keys = {"event.time.field": "at", **keys}
    prefix = "rows." if place == "job for the source" else ""
    given = "".join(f", '{prefix}{key}' = '{value}'" for key, value in keys.items())
    in_source, in_job = (given, "") if place == "source" else ("", given)
    text = f"""
        CREATE STREAM rows ({columns}) WITH ('connector' = 'file', 'path' = 'rows.jsonl'{in_source});
        CREATE STREAM minutes AS {QUERY} WITH ('connector' = 'file', 'path' = 'minutes.jsonl'{in_job});
    """
    return Application.parse(text, str(folder / "app.sql"))


def ran(
    folder: Path, keys: dict[str, str], place: str, columns: str = "at TIMESTAMP, ms BIGINT, day VARCHAR"
) -> tuple[list[object], JobResult]:
    (result,) = application(folder, keys, place, columns).run(options=RunOptions(strict=False)).jobs
    assert result.error is None
    lines = (folder / "minutes.jsonl").read_text("utf-8").splitlines()
    return [list(json.loads(line).values()) for line in lines], result


MINUTE_0, MINUTE_1, FAR = "2024-01-01T00:00:00Z", "2024-01-01T00:01:00Z", "2999-01-01T00:00:00Z"


@pytest.mark.parametrize("place", PLACES)
class TestKey:
    def test_event_time_field_makes_windows_possible(self, tmp_path: Path, place: str) -> None:
        rows, result = ran(tmp_path, {}, place)
        assert rows == [[MINUTE_0, 1, "01/02/2024"], [MINUTE_1, 1, "01/02/2024"], [FAR, 1, "03/02/2024"]]
        assert result.ledger.late == 1

    def test_event_time_format_reads_numbers(self, tmp_path: Path, place: str) -> None:
        keys = {"event.time.field": "ms", "event.time.format": "epoch_millis"}
        rows, _ = ran(tmp_path, keys, place, "at TIMESTAMP, ms TIMESTAMP, day VARCHAR")
        assert [row[0] for row in rows] == [MINUTE_0, MINUTE_1, FAR]

    def test_timestamp_format_is_for_all_timestamps(self, tmp_path: Path, place: str) -> None:
        keys = {"timestamp.format": "%d/%m/%Y", "event.time.format": "iso8601"}
        rows, _ = ran(tmp_path, keys, place, "at TIMESTAMP, ms BIGINT, day TIMESTAMP")
        assert [row[2] for row in rows] == ["2024-02-01T00:00:00Z", "2024-02-01T00:00:00Z", "2024-02-03T00:00:00Z"]

    def test_watermark_stays_behind_by_max_out_of_orderness(self, tmp_path: Path, place: str) -> None:
        rows, result = ran(tmp_path, {"watermark.max_out_of_orderness": "10s"}, place)
        assert rows[0] == [MINUTE_0, 2, "02/02/2024"]
        assert result.ledger.late == 0

    def test_ascending_strategy_allows_no_disorder(self, tmp_path: Path, place: str) -> None:
        assert ran(tmp_path, {"watermark.strategy": "ascending"}, place)[1].ledger.late == 1

    def test_allowed_lateness_keeps_windows_open(self, tmp_path: Path, place: str) -> None:
        rows, result = ran(tmp_path, {"allowed.lateness": "10s"}, place)
        assert rows[0] == [MINUTE_0, 2, "02/02/2024"]
        assert result.ledger.late == 0

    def test_late_rows_become_dead_letters(self, tmp_path: Path, place: str) -> None:
        assert ran(tmp_path, {"late.data.strategy": "dead_letter"}, place)[1].ledger.late == 1
        (letter,) = (tmp_path / "app.minutes.dlq.jsonl").read_text("utf-8").splitlines()
        assert "E2301" in letter

    def test_late_rows_update_within_the_allowed_lateness(self, tmp_path: Path, place: str) -> None:
        rows, _ = ran(tmp_path, {"late.data.strategy": "update_previous", "allowed.lateness": "10s"}, place)
        assert [row[:2] for row in rows if row[0] == MINUTE_0][-1] == [MINUTE_0, 2]

    def test_rows_too_far_ahead_fail(self, tmp_path: Path, place: str) -> None:
        rows, result = ran(tmp_path, {"watermark.max_ahead": "1d"}, place)
        assert [row[0] for row in rows] == [MINUTE_0, MINUTE_1]
        assert result.ledger.skipped == 1

    def test_idle_timeout_reaches_the_job(self, tmp_path: Path, place: str) -> None:
        app = application(tmp_path, {"watermark.idle_timeout": "5s"}, place, "at TIMESTAMP, ms BIGINT, day VARCHAR")
        builder = JobBuilder(app.plan.jobs[0], app.environment(RunOptions(), Silent()))
        assert builder.settings.source.optional_number("watermark.idle_timeout") == 5000

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("watermark.strategy", "punctuated"),
            ("watermark.max_out_of_orderness", "soon"),
            ("watermark.idle_timeout", "5"),
            ("watermark.max_ahead", "x"),
            ("allowed.lateness", "-5s"),
            ("late.data.strategy", "include_in_next"),
            ("event.time.format", "today"),
            ("timestamp.format", "%Q"),
            ("watermark.max_out_of_ordernes", "5s"),
            ("event.time.fild", "at"),
        ],
    )
    def test_wrong_value_is_refused_by_key_and_place(self, tmp_path: Path, place: str, key: str, value: str) -> None:
        with pytest.raises(FerrisError) as caught:
            application(tmp_path, {key: value}, place, "at TIMESTAMP, ms BIGINT, day VARCHAR").check()
        assert caught.value.position is not None or key in str(caught.value)
        assert caught.value.hint
