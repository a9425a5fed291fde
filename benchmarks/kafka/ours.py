"""FerrisStreams: the command `ferris run` with an application of one job."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.kafka.data import Work
from benchmarks.kafka.run import Command, Order

_APPLICATION = """-- @app: {name}
CREATE STREAM trades (id BIGINT, symbol TEXT, price DOUBLE, qty INTEGER, side TEXT, {time})
WITH ('connector' = 'kafka', 'bootstrap.servers' = '{bootstrap}', 'topic' = '{source}', 'format' = 'json',
    'partitioned.by' = 'symbol'{more});

-- @name: trades_job
-- @job_mode: {mode}
CREATE STREAM results
WITH ('connector' = 'kafka', 'bootstrap.servers' = '{bootstrap}', 'topic' = '{sink}', 'format' = 'json') AS
{query};
"""

_FILTER = "SELECT id, symbol, price * qty AS amount, qty FROM trades WHERE side = 'buy'"
_WINDOW = """SELECT window_start, symbol, count(*) AS n, sum(qty) AS total FROM trades
GROUP BY symbol, TUMBLE(ts, INTERVAL '1' MINUTE)"""
_EVENT_TIME = "ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '1' SECOND"
_EPOCH = ", 'event.time.format' = 'epoch_millis'"


def application(order: Order) -> str:
    """The application of a work."""
    windowed = order.work is Work.WINDOW
    return _APPLICATION.format(
        name=order.name,
        bootstrap=order.bootstrap,
        source=order.source,
        sink=order.sink,
        mode=order.guarantee.value,
        time=_EVENT_TIME if windowed else "ts BIGINT",
        more=_EPOCH if windowed else "",
        query=_WINDOW if windowed else _FILTER,
    )


def group(order: Order) -> str:
    """The group of an application's job."""
    return f"{order.name}.trades_job"


def command(order: Order, settings: tuple[str, ...] = ()) -> Command:
    """Write the application into the state folder, and say how it is run."""
    path = order.state / "application.sql"
    path.write_text(application(order), "utf-8")
    given = [option for setting in settings for option in ("--set", setting)]
    ferris = Path(sys.executable).with_name("ferris")
    return Command([ferris, "run", path, "--state-dir", order.state / "state", *given])
