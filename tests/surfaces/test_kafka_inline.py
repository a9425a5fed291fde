"""The inline form over topics: the columns are those of the topic's first records, kept and held to."""

from __future__ import annotations

import json

from tests.broker import Cluster, Record
from tests.surfaces.conftest import Ferris

TICKS = """
-- @app: {topic}
-- @name: tick_buckets
-- @metric: ticks_avg_price
-- @metric_type: gauge
CREATE STREAM tick_buckets AS
SELECT symbol PRIMARY KEY, AVG(price) AS avg_price, _window_start AS ws
FROM market_data GROUP BY symbol WINDOW TUMBLING(_event_time, INTERVAL '1' SECOND)
EMIT CHANGES
WITH ('market_data.type'='kafka_source', 'market_data.topic'='{topic}', 'market_data.format'='json',
      'market_data.brokers'='{servers}', 'market_data.event.time.field'='at',
      'market_data.session.timeout.ms'='30000',
      'tick_buckets.type'='kafka_sink', 'tick_buckets.topic'='{topic}-ticks', 'tick_buckets.format'='json',
      'tick_buckets.brokers'='{servers}', 'tick_buckets.create.topic'='true', 'tick_buckets.compression.type'='lz4');
"""


def test_ticks_of_the_predecessor_run_as_they_stand(kafka: Cluster, ferris: Ferris, topic_name: str) -> None:
    kafka.create_topic(topic_name)
    ticks = [("A", 10.0, "00:00:00.1"), ("A", 11.0, "00:00:00.9"), ("B", 5.5, "00:00:01.2"), ("A", 9.0, "00:00:02")]
    rows = [json.dumps({"symbol": s, "price": p, "at": f"2024-01-01T{at}Z"}) for s, p, at in ticks]
    kafka.write(topic_name, [Record(row.encode()) for row in rows])
    text = TICKS.format(topic=topic_name, servers=kafka.bootstrap_servers)
    (ferris.folder / "app.sql").write_text(text, "utf-8")

    before = ferris("check", "app.sql")
    assert (before.code, "known when it is read" in before.err) == (0, True), before.err
    ran = ferris("run", "--once", "--drain", "-o", "json", "app.sql")
    assert ran.code == 0, ran.err
    assert ran.job["ledger"]["absorbed"] == 4
    found = [(record.key, json.loads(record.value or b"")) for record in kafka.read(f"{topic_name}-ticks")]
    last = {(key, row["ws"]): row["avg_price"] for key, row in found}
    assert last == {
        (b"A", "2024-01-01T00:00:00Z"): 10.5,
        (b"B", "2024-01-01T00:00:01Z"): 5.5,
        (b"A", "2024-01-01T00:00:02Z"): 9.0,
    }

    kept = ferris("check", "app.sql")
    assert (kept.code, "known when it is read" in kept.err) == (0, False)
    (ferris.folder / "app.sql").write_text(text.replace("AVG(price)", "AVG(prise)"), "utf-8")
    assert "did you mean price?" in ferris("check", "app.sql").err


def test_topic_without_records_asks_for_a_declaration(kafka: Cluster, ferris: Ferris, topic_name: str) -> None:
    kafka.create_topic(topic_name)
    sql = f"SELECT symbol FROM 'kafka://{kafka.bootstrap_servers}/{topic_name}'"
    ran = ferris("run", "--once", "--drain", "-", stdin=sql)
    assert ran.code == 1
    assert f"the columns of {topic_name} are not known" in ran.err


def test_reference_to_a_topic_is_read(kafka: Cluster, ferris: Ferris, topic_name: str) -> None:
    kafka.create_topic(topic_name)
    kafka.write(topic_name, [Record(b'{"symbol":\n "A", "n": 1}'), Record(None, b"gone"), Record(b'{"symbol": "B"}')])
    sql = f"SELECT symbol, n FROM 'kafka://{kafka.bootstrap_servers}/{topic_name}'"
    ran = ferris("run", "--once", "--drain", "-", stdin=sql)
    assert ran.code == 0, ran.err
    assert ran.out.splitlines() == ['{"symbol":"A","n":1}', '{"symbol":"B","n":null}']
