"""The two works in Flink SQL. Run by the Python that has it, with arguments of the form name=value.

With `resume=true` the job goes on from the newest complete checkpoint in its state folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pyflink.common import Configuration
from pyflink.table import EnvironmentSettings, TableEnvironment

FILTER = "INSERT INTO sink SELECT id, symbol, price * qty AS amount, qty FROM source WHERE side = 'buy'"
WINDOW = """INSERT INTO sink SELECT window_start, symbol, COUNT(*) AS n, SUM(CAST(qty AS BIGINT)) AS total
    FROM TABLE(TUMBLE(TABLE source, DESCRIPTOR(event_time), INTERVAL '1' MINUTE))
    GROUP BY window_start, window_end, symbol"""

FIELDS = "id BIGINT, symbol STRING, price DOUBLE, qty INT, side STRING, ts BIGINT"
EVENT_TIME = ", event_time AS TO_TIMESTAMP_LTZ(ts, 3), WATERMARK FOR event_time AS event_time - INTERVAL '1' SECOND"
FILTERED = "id BIGINT, symbol STRING, amount DOUBLE, qty INT"
WINDOWED = "window_start TIMESTAMP(3), symbol STRING, n BIGINT, total BIGINT"


def main(given: dict[str, str]) -> None:
    table = TableEnvironment.create(
        EnvironmentSettings.new_instance().in_streaming_mode().with_configuration(configuration(given)).build()
    )
    windowed = given["work"] == "window"
    source = FIELDS + (EVENT_TIME if windowed else "")
    table.execute_sql(f"CREATE TABLE source ({source}) WITH ({options(source_options(given))})")
    sink = WINDOWED if windowed else FILTERED
    table.execute_sql(f"CREATE TABLE sink ({sink}) WITH ({options(sink_options(given))})")
    table.execute_sql(WINDOW if windowed else FILTER).wait()


def configuration(given: dict[str, str]) -> Configuration:
    state = Path(given["state"]).resolve()
    interval = "1 s" if given["tuned"] == "throughput" else "100 ms"
    settings = {
        "pipeline.jars": ";".join(path.as_uri() for path in Path(given["jars"]).glob("*.jar")),
        "pipeline.object-reuse": "true",
        "parallelism.default": "1",
        "table.local-time-zone": "UTC",
        "execution.checkpointing.interval": interval,
        "execution.checkpointing.dir": state.as_uri(),
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
    }
    if given["resume"] == "true":
        whole = sorted(state.rglob("_metadata"), key=lambda path: path.stat().st_mtime)
        settings["execution.state-recovery.path"] = whole[-1].parent.as_uri()
    made = Configuration()
    for name, value in settings.items():
        made.set_string(name, value)
    return made


def source_options(given: dict[str, str]) -> dict[str, str]:
    return {
        "connector": "kafka",
        "topic": given["source"],
        "properties.bootstrap.servers": given["bootstrap"],
        "properties.group.id": given["name"],
        "scan.startup.mode": "earliest-offset",
        "format": "json",
        **({"properties.fetch.min.bytes": "100000"} if given["tuned"] == "throughput" else {}),
    }


def sink_options(given: dict[str, str]) -> dict[str, str]:
    exact = given["guarantee"] == "exactly_once"
    throughput = {
        "properties.linger.ms": "20",
        "properties.batch.size": "200000",
        "properties.compression.type": "lz4",
    }
    return {
        "connector": "kafka",
        "topic": given["sink"],
        "properties.bootstrap.servers": given["bootstrap"],
        "key.format": "raw",
        "key.fields": "symbol",
        "value.format": "json",
        "sink.delivery-guarantee": "exactly-once" if exact else "at-least-once",
        **({"sink.transactional-id-prefix": given["name"]} if exact else {}),
        "properties.transaction.timeout.ms": "60000",
        **(throughput if given["tuned"] == "throughput" else {}),
    }


def options(given: dict[str, str]) -> str:
    return ", ".join(f"'{name}' = '{value}'" for name, value in given.items())


if __name__ == "__main__":
    main(dict(argument.split("=", 1) for argument in sys.argv[1:]))
