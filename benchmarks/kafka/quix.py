"""The two works in Quix Streams. Run by the Python that has it, with arguments of the form name=value."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any

from quixstreams import Application
from quixstreams.dataframe import StreamingDataFrame
from quixstreams.dataframe.windows import Count, Sum

Value = dict[str, Any]


def main(given: dict[str, str]) -> None:
    throughput = given["tuned"] == "throughput"
    app = Application(
        broker_address=given["bootstrap"],
        consumer_group=given["name"],
        state_dir=given["state"],
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once" if given["guarantee"] == "exactly_once" else "at-least-once",
        commit_interval=1.0 if throughput else 0.1,
        # A killed instance need not be waited for: the new one takes its place at once.
        consumer_extra_config={"fetch.queue.backoff.ms": 5, "group.instance.id": given["name"]},
        producer_extra_config={"compression.type": "lz4", "linger.ms": 20 if throughput else 0},
        loglevel="WARNING",
    )
    source = app.topic(
        given["source"],
        key_deserializer="str",
        value_deserializer="json",
        timestamp_extractor=lambda value, headers, timestamp, kind: value["ts"],
    )
    sink = app.topic(given["sink"], key_serializer="str", value_serializer="json")
    stream = app.dataframe(source)
    shaped = filtered(stream) if given["work"] == "filter" else windowed(stream)
    shaped.to_topic(sink)
    app.run()


def filtered(stream: StreamingDataFrame) -> StreamingDataFrame:
    def bought(value: Value) -> Value:
        amount = value["price"] * value["qty"]
        return {"id": value["id"], "symbol": value["symbol"], "amount": amount, "qty": value["qty"]}

    return stream.filter(lambda value: value["side"] == "buy").apply(bought)


def windowed(stream: StreamingDataFrame) -> StreamingDataFrame:
    def bar(value: Value, key: str, timestamp: int, headers: object) -> Value:
        return {"window_start": value["start"], "symbol": key, "n": value["n"], "total": value["total"]}

    windows = stream.tumbling_window(timedelta(minutes=1), grace_ms=timedelta(seconds=1))
    closed = windows.agg(n=Count(), total=Sum("qty")).final(closing_strategy="partition")
    return closed.apply(bar, metadata=True)


if __name__ == "__main__":
    main(dict(argument.split("=", 1) for argument in sys.argv[1:]))
