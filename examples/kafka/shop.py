"""Runs `shop.sql` over topics: kills it while it works, lets customers move and leave, and counts everything again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ferrisstreams.clock import SystemClock
from tests.broker import Cluster, Record

FOLDER = Path(__file__).parent
FERRIS = [sys.executable, "-m", "ferrisstreams"]
#: When a record is written, and the record.
Timed = tuple[datetime, Record]
COUNTRIES = ("AT", "CH", "DE", "FR", "IT")
CUSTOMERS = 200
START = datetime(2024, 1, 1, 10, tzinfo=UTC)
_NAP_MS = 100.0
_NAPS_MAX = 1200


def customer(number: int, country: str) -> Record:
    """A customer, whose id is the key of the message alone."""
    return Record(f'{{"name": "Customer {number}", "country": "{country}"}}'.encode(), f"c{number}".encode())


def customers() -> Iterator[Record]:
    """All customers but the last, whose orders meet nobody; one alone lives in LI."""
    yield from (customer(number, COUNTRIES[number % len(COUNTRIES)]) for number in range(CUSTOMERS - 2))
    yield customer(CUSTOMERS - 2, "LI")


def moves() -> Iterator[Record]:
    """Every tenth customer moves to the next country, the one of LI to CH, and another one leaves."""
    yield from (customer(number, COUNTRIES[(number + 1) % len(COUNTRIES)]) for number in range(0, CUSTOMERS - 2, 10))
    yield customer(CUSTOMERS - 2, "CH")
    yield Record(None, b"c3")


def orders_and_payments(count: int) -> tuple[list[Timed], list[Timed]]:
    """An order each 50 ms of event time, out of order by up to four seconds. Of sixteen orders one is never paid, one
    too late, and one in two parts."""
    dice = random.Random(count)
    orders: list[Timed] = []
    payments: list[Timed] = []
    for id_ in range(count):
        at, cents = START + timedelta(milliseconds=50 * id_), dice.randrange(100, 20_000)
        name = f"c{dice.randrange(CUSTOMERS)}"
        value = f'{{"id": {id_}, "customer": "{name}", "placed_at": "{_text(at)}", "amount": {_money(cents)}}}'
        orders.append((at + timedelta(seconds=dice.uniform(0, 4)), Record(value.encode(), name.encode())))
        parts = [cents // 3, cents - cents // 3] if id_ % 16 == 5 else [cents] if id_ % 16 else []
        for part in parts:
            paid = at + timedelta(seconds=150 if id_ % 16 == 1 else dice.randrange(1, 120))
            value = f'{{"order_id": {id_}, "paid_at": "{_text(paid)}", "amount": {_money(part)}}}'
            payments.append((paid, Record(value.encode(), str(id_).encode())))
    return sorted(orders, key=_time), sorted(payments, key=_time)


def halfway(count: int) -> datetime:
    """When half of so many orders are placed."""
    return START + timedelta(milliseconds=25 * count)


def _time(timed: Timed) -> datetime:
    return timed[0]


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _money(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02}"


@dataclass(frozen=True, slots=True)
class Shop:
    """The application over the topics of a cluster that begin with `prefix`, with its state in a folder."""

    cluster: Cluster
    application: Path
    state: Path
    prefix: str = "shop"

    def make_topics(self) -> None:
        for name in ("customers", "orders", "payments"):
            self.cluster.create_topic(self.topic(name), partitions=3)

    def topic(self, name: str) -> str:
        return f"{self.prefix}.{name}"

    def write(self, name: str, records: Iterator[Record] | list[Record]) -> None:
        self.cluster.write(self.topic(name), records)

    def latest(self, name: str) -> dict[str, str]:
        """What a topic of upserts holds: the last message of each key that has a value."""
        found = {record.key or b"": record.value for record in self.cluster.read(self.topic(name))}
        return {key.decode(): value.decode() for key, value in sorted(found.items()) if value is not None}

    def command(self, *words: str) -> list[str]:
        address = ["--set", f"bootstrap.servers={self.cluster.bootstrap_servers}"]
        return [*FERRIS, *words, "--state-dir", str(self.state), *address, str(self.application)]

    def run(self, *words: str) -> None:
        subprocess.run(self.command(*words), check=True)

    def kill_at_work(self, name: str) -> None:
        """Start a run without an end, and kill all its processes when there is something in this topic."""
        clock = SystemClock()
        with subprocess.Popen(self.command("run", "-q"), start_new_session=True) as process:
            for _ in range(_NAPS_MAX):
                if self.cluster.topics.partitions(self.topic(name)) and self.cluster.read(self.topic(name)):
                    break
                if process.poll() is not None:
                    sys.exit(f"the run ended by itself, with exit code {process.returncode}")
                clock.sleep_ms(_NAP_MS)
            os.killpg(process.pid, signal.SIGKILL)


def show(shop: Shop, orders: int) -> None:
    """The first half, a kill, customers that move, the other half, and the ledgers beside what is there."""
    shop.make_topics()
    shop.write("customers", customers())
    written, half = orders_and_payments(orders), halfway(orders)
    _write(shop, *([record for at, record in records if at < half] for records in written))
    say("run until there are settled orders, then kill -9")
    shop.kill_at_work("settled")
    say("the same again, to the end of what is there")
    shop.run("run", "--once")
    _show(shop, "countries")
    say("a tenth of the customers move, one is deleted, and the other half comes")
    shop.write("customers", moves())
    _write(shop, *([record for at, record in records if at >= half] for records in written))
    shop.run("run", "--once", "--drain")
    _show(shop, "countries")
    for name in ("enriched", "settled"):
        say(f"the last of the topic {shop.topic(name)}")
        say(f"  {(shop.cluster.read(shop.topic(name))[-1].value or b'').decode()}")
    say("is every record accounted for? Topics are counted again, beside the ledgers")
    shop.run("audit")


def _write(shop: Shop, orders: list[Record], payments: list[Record]) -> None:
    say(f"{len(orders):,} orders and {len(payments):,} payments")
    shop.write("orders", orders)
    shop.write("payments", payments)


def _show(shop: Shop, name: str) -> None:
    say(f"the table in the topic {shop.topic(name)}")
    for value in shop.latest(name).values():
        say(f"  {value}")


def say(text: str) -> None:
    print(text, flush=True)
