"""Starts a broker, and runs two applications over it: `orders.sql`, with its dead letters and lag, and `shop.sql`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from examples.kafka.shop import FERRIS, FOLDER, Shop, say, show
from tests.broker import Broker, Record
from tests.broker_jars import BrokerError
from tests.topic_records import group_lag

ORDERS = 100_000
SHOPS = ("north", "south", "harbour")
SHOP_ORDERS = 20_000


def order(number: int) -> Record:
    """An order each 3 ms of event time; one in 20,000 is not an order at all."""
    shop = SHOPS[number % len(SHOPS)]
    if number % 20_000 == 19_999:
        return Record(b'{"shop": "nowhere", "amount": "much"}', shop.encode())
    seconds, milliseconds = divmod(number * 3, 1000)
    at = f"2024-01-01T10:{seconds // 60:02}:{seconds % 60:02}.{milliseconds:03}Z"
    value = {"ordered_at": at, "shop": shop, "amount": f"{number % 5000 / 100:.2f}"}
    return Record(json.dumps(value).encode(), shop.encode())


def main() -> None:
    say("starting a broker")
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder, "broker")) as broker:
        say(f"{ORDERS:,} orders to the topic orders at {broker.bootstrap_servers}")
        broker.create_topic("orders", partitions=3)
        broker.write("orders", map(order, range(ORDERS)))
        command = ["run", "--once", "--drain", "--state-dir", str(Path(folder, "state"))]
        address = f"bootstrap.servers={broker.bootstrap_servers}"
        subprocess.run([*FERRIS, *command, "--set", address, str(FOLDER / "orders.sql")], check=True)
        records = broker.read("turnover")
        say(f"the topic turnover: {len(records)} records")
        for record in records[-3:]:
            say(f"  {(record.key or b'').decode():8} {(record.value or b'').decode()}")
        letters = broker.read("orders.turnover.dlq")
        say(f"the topic orders.turnover.dlq: {len(letters)} records")
        for letter in letters[:1]:
            say(f"  {(letter.value or b'').decode()}  {dict(letter.headers)['ferris.code']!r}")
        lag = group_lag(broker.properties, "orders.turnover", "orders")
        say("lag of the group orders.turnover: " + ", ".join(f"{name} {left}" for name, left in lag.items()))
        say("")
        say("orders, customers and payments (examples/kafka/shop.sql)")
        show(Shop(broker, FOLDER / "shop.sql", Path(folder, "shop")), SHOP_ORDERS)
    say("the broker is stopped and its data removed")


if __name__ == "__main__":
    try:
        main()
    except BrokerError as error:
        sys.exit(f"demo-kafka: {error}")
