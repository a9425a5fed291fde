"""SQL that people bring runs as it stands, or after what its error says; on topics it is checked and formatted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from ferrisstreams.session.application import Application, RunOptions
from ferrisstreams.sql.formatter import format_text
from tests.surfaces.conftest import Ferris

ROWS = (
    {"symbol": "A", "user_id": 1, "price": 10.5, "amount": 3, "event_time": "2024-01-01T00:00:05Z"},
    {"symbol": "B", "user_id": 2, "price": 20.0, "amount": 1, "event_time": "2024-01-01T00:00:50Z"},
    {"symbol": "A", "user_id": 1, "price": 11.5, "amount": 0, "event_time": "2024-01-01T00:01:10Z"},
    {"symbol": "A", "user_id": 1, "price": 12.0, "amount": 7, "event_time": "2024-01-01T00:04:00Z"},
)
FILES = "'t.type'='file_source', 't.path'='rows.jsonl', 't.format'='jsonl', 't.event.time.field'='event_time'"


@dataclass(frozen=True)
class Runner:
    """Runs applications in `folder`, in this process."""

    folder: Path
    captured: pytest.CaptureFixture[str]

    def rows(self, sql: str) -> list[object]:
        """What the statement writes to standard output, by value; it must come out of its canonical form too."""
        first = self._run(sql, "first")
        assert self._run(format_text(sql, "app.sql"), "second") == first
        return [list(json.loads(line).values()) for line in first.splitlines()]

    def _run(self, sql: str, state: str) -> str:
        state_dir = str(self.folder / state / str(len(list(self.folder.rglob("state.duckdb")))))
        application = Application.parse(sql, str(self.folder / "app.sql"), state_dir)
        application.check()
        result = application.run(options=RunOptions(state_dir=state_dir))
        assert [job.error for job in result.jobs] == [None] * len(result.jobs)
        return self.captured.readouterr().out


@pytest.fixture
def files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Runner:
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    (tmp_path / "rows.jsonl").write_text(lines, "utf-8")
    columns = list(ROWS[0])
    table = "\n".join(",".join(str(row[name]) for name in columns) for row in ROWS)
    (tmp_path / "rows.csv").write_text(f"{','.join(columns)}\n{table}\n", "utf-8")
    return Runner(tmp_path, capfd)


@pytest.mark.parametrize(
    ("window", "counts"),
    [
        ("WINDOW TUMBLING(1m)", {"A": 3, "B": 1}),
        ("WINDOW TUMBLING(INTERVAL '1' MINUTE)", {"A": 3, "B": 1}),
        ("WINDOW TUMBLING(event_time, INTERVAL '1' MINUTE)", {"A": 3, "B": 1}),
        ("WINDOW TUMBLING(_event_time, INTERVAL '1' SECOND)", {"A": 3, "B": 1}),
        ("WINDOW SLIDING(10m, 2m)", {"A": 15, "B": 5}),
        ("WINDOW SLIDING(event_time, 5m, 1m)", {"A": 15, "B": 5}),
        ("WINDOW SESSION(30s)", {"A": 3, "B": 1}),
        ("WINDOW SESSION(event_time, INTERVAL '4' HOUR, symbol)", {"A": 3, "B": 1}),
    ],
)
def test_windows_of_the_predecessor(files: Runner, window: str, counts: dict[str, int]) -> None:
    sql = f"SELECT symbol, COUNT(*) AS n FROM t GROUP BY symbol {window} WITH ({FILES})"
    found = files.rows(sql)
    totals = {symbol: sum(n for name, n in found if name == symbol) for symbol in ("A", "B")}  # type: ignore[misc]
    assert totals == counts


def test_older_generation_with_into_and_emit_last(files: Runner) -> None:
    sql = """CREATE STREAM enriched AS SELECT symbol, amount FROM raw WHERE amount > 0
        INTO enriched_sink
        WITH ('raw.type'='file_source', 'raw.path'='rows.csv', 'enriched_sink.type'='stdout_sink',
              'enriched_sink.failure_strategy'='LogAndContinue')
        EMIT CHANGES;"""
    assert files.rows(sql) == [["A", 3], ["B", 1], ["A", 7]]


def test_aliases_and_expressions_of_the_predecessor(files: Runner) -> None:
    sql = f"""SELECT symbol PRIMARY KEY, price * amount AS t, t * 0.5 AS half,
              CASE WHEN amount > 2 THEN 'big' ELSE 'small' END AS size, CAST(user_id AS STRING) || '!' AS u
              FROM t o WHERE o.price BETWEEN 10 AND 20 AND symbol IN ('A', 'B') AND amount <> 0 WITH ({FILES})"""
    found = [["A", 31.5, 15.75, "big", "1!"], ["B", 20.0, 10.0, "small", "2!"], ["A", 84.0, 42.0, "big", "1!"]]
    assert files.rows(sql) == found


def test_one_billion_rows_in_its_own_words(files: Runner) -> None:
    (files.folder / "m.txt").write_text("Ulm;20.5\nBonn;19.0\nUlm;-3.5\n", "utf-8")
    sql = """-- SQL Application: 1brc
        -- @job_mode: adaptive
        -- @num_partitions: 6
        CREATE STREAM results AS
        SELECT column0 AS station, MIN(column1) AS low, MAX(column1) AS high FROM m GROUP BY column0 EMIT FINAL
        WITH ('m.type'='file_source_mmap', 'm.path'='m.txt', 'm.format'='csv_no_header', 'm.delimiter'=';',
              'results.type'='stdout_sink')"""
    assert files.rows(sql) == [["Bonn", 19.0, 19.0], ["Ulm", -3.5, 20.5]]


DECLARED = """CREATE STREAM Bid (symbol STRING, price DOUBLE, amount INT, event_time TIMESTAMP(3),
  WATERMARK FOR event_time AS event_time - INTERVAL '5' SECOND) WITH ('connector' = 'file', 'path' = 'rows.jsonl');
"""


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT window_start, SUM(amount) AS s FROM TABLE(TUMBLE(TABLE Bid, DESCRIPTOR(event_time), "
         "INTERVAL '10' MINUTES)) GROUP BY window_start, window_end", [["2024-01-01T00:00:00Z", 11]]),
        ("SELECT window_end, SUM(amount) AS s FROM TABLE(CUMULATE(TABLE Bid, DESCRIPTOR(event_time), "
         "INTERVAL '2' MINUTES, INTERVAL '4' MINUTES)) GROUP BY window_start, window_end",
         [["2024-01-01T00:02:00Z", 4], ["2024-01-01T00:04:00Z", 4], ["2024-01-01T00:06:00Z", 7],
          ["2024-01-01T00:08:00Z", 7]]),
        ("SELECT symbol, COUNT(*) AS n FROM TABLE(SESSION(DATA => TABLE Bid PARTITION BY symbol, TIMECOL => "
         "DESCRIPTOR(event_time), GAP => INTERVAL '2' MINUTES)) GROUP BY symbol, window_start, window_end",
         [["B", 1], ["A", 2], ["A", 1]]),
        ("SELECT TUMBLE_START(event_time, INTERVAL '1' HOUR) AS s, COUNT(*) AS n FROM Bid "
         "GROUP BY TUMBLE(event_time, INTERVAL '1' HOUR)", [["2024-01-01T00:00:00Z", 4]]),
    ],
)  # fmt: skip
def test_windows_of_flink(files: Runner, query: str, expected: list[object]) -> None:
    assert files.rows(DECLARED + query) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT symbol, WINDOWSTART AS ws, COUNT(*) AS n FROM Bid WINDOW TUMBLING (SIZE 1 HOUR, "
         "GRACE PERIOD 10 MINUTES) GROUP BY symbol EMIT FINAL",
         [["A", "2024-01-01T00:00:00Z", 3], ["B", "2024-01-01T00:00:00Z", 1]]),
        ("SELECT symbol, COUNT(*) AS n FROM Bid WINDOW SESSION (60 SECONDS) GROUP BY symbol HAVING COUNT(*) > 0 "
         "EMIT FINAL", [["A", 1], ["B", 1], ["A", 1], ["A", 1]]),
        ("SELECT symbol, SUM(amount) AS s FROM Bid WINDOW HOPPING (SIZE 4 MINUTES, ADVANCE BY 4 MINUTES) "
         "GROUP BY symbol EMIT FINAL", [["A", 3], ["B", 1], ["A", 7]]),
    ],
)  # fmt: skip
def test_windows_of_ksqldb(files: Runner, query: str, expected: list[object]) -> None:
    assert files.rows(DECLARED + query) == expected


def test_grace_period_takes_rows_that_would_be_late(files: Runner) -> None:
    late = [{"k": 1, "at": f"2024-01-01T00:{at}Z"} for at in ("00:10", "01:05", "00:50", "02:00")]
    (files.folder / "late.jsonl").write_text("".join(json.dumps(row) + "\n" for row in late), "utf-8")
    sql = """CREATE STREAM s (k INT, at TIMESTAMP) WITH (connector='file', path='late.jsonl', TIMESTAMP='at');
        SELECT k, COUNT(*) AS n FROM s WINDOW TUMBLING (SIZE 1 MINUTE{grace}) GROUP BY k EMIT FINAL"""
    assert files.rows(sql.format(grace="")) == [[1, 1], [1, 1], [1, 1]]
    assert files.rows(sql.format(grace=", GRACE PERIOD 10 SECONDS")) == [[1, 2], [1, 1], [1, 1]]


ON_TOPICS = (
    """-- @name: tick_buckets
    -- @job_mode: adaptive
    -- @metric: ticks_avg_price
    -- @metric_type: gauge
    -- @metric_field: avg_price
    -- @metric_labels: symbol
    CREATE STREAM tick_buckets AS
    SELECT symbol PRIMARY KEY, AVG(price) AS avg_price, _window_start AS ws
    FROM market_data GROUP BY symbol WINDOW TUMBLING(_event_time, INTERVAL '1' SECOND)
    EMIT CHANGES
    WITH ('market_data.type'='kafka_source', 'market_data.topic'='md', 'market_data.format'='json',
          'tick_buckets.type'='kafka_sink', 'tick_buckets.topic'='ticks', 'tick_buckets.format'='json');""",
    """CREATE STREAM enriched AS SELECT id FROM raw WHERE amount > 0
    INTO enriched_sink
    WITH ('raw.type'='kafka_source', 'raw.topic'='raw', 'raw.brokers'='localhost:9092',
          'enriched_sink.type'='kafka_sink', 'enriched_sink.failure_strategy'='LogAndContinue')
    EMIT CHANGES;""",
    "CREATE STREAM out WITH (connector='stdout') AS SELECT a FROM 'kafka://localhost:9092/orders' WHERE a > 1",
    """CREATE STREAM pageviews (viewtime TIMESTAMP, user_id VARCHAR)
    WITH (KAFKA_TOPIC = 'pageviews', VALUE_FORMAT = 'JSON', TIMESTAMP = 'viewtime', BROKERS = 'localhost:9092');
    CREATE STREAM views WITH (KAFKA_TOPIC = 'views', VALUE_FORMAT = 'JSON', BROKERS = 'localhost:9092') AS
    SELECT user_id, WINDOWSTART AS ws, COUNT(*) AS n FROM pageviews WINDOW TUMBLING (SIZE 30 SECONDS) GROUP BY user_id
    EMIT CHANGES;""",
    """CREATE STREAM orders (id STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
    WITH ('connector' = 'kafka', 'topic' = 'orders', 'properties.bootstrap.servers' = 'localhost:9092',
          'properties.group.id' = 'g', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
    SELECT id FROM orders""",
)


@pytest.mark.parametrize("sql", ON_TOPICS)
def test_statement_on_a_topic_is_checked_and_formatted(tmp_path: Path, sql: str) -> None:
    Application.parse(sql, str(tmp_path / "app.sql")).check()
    formatted = format_text(sql, "app.sql")
    Application.parse(formatted, str(tmp_path / "app.sql")).check()
    assert format_text(formatted, "app.sql") == formatted


def test_check_says_what_it_could_not_check(ferris: Ferris) -> None:
    ran = ferris("check", "-", stdin=ON_TOPICS[0])
    assert (ran.code, ran.out) == (0, "-: 1 job (tick_buckets), no errors\n")
    assert "the columns of market_data are known when it is read; names and types were not checked" in ran.err
