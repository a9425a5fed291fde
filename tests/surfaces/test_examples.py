"""The examples give what they say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import duckdb
import pytest

from examples.kafka.shop import Shop, Timed, customers, halfway, moves, orders_and_payments, show
from tests.broker import Cluster, Record
from tests.surfaces.conftest import Ferris

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

#: A row as texts, so that rows with NULLs can be sorted.
Row = tuple[str, ...]


def test_one_billion_rows_in_a_very_small_edition(ferris: Ferris) -> None:
    file = ferris.folder / "measurements.txt"
    subprocess.run([sys.executable, EXAMPLES / "one_billion_rows" / "generate.py", "20_000", file], check=True)
    shutil.copy(EXAMPLES / "one_billion_rows" / "measurements.sql", ferris.folder)
    ran = ferris("run", "measurements.sql", "-o", "json")
    assert ran.job["ledger"]["absorbed"] == 20_000
    values: dict[str, list[float]] = {}
    for line in file.read_text().splitlines():
        station, _, value = line.partition(";")
        values.setdefault(station, []).append(float(value))
    found = {row["station"]: row for row in ferris.lines("stations.jsonl")}
    assert len(found) == len(values) > 400
    for station, held in values.items():
        row = found[station]
        assert (row["lowest"], row["highest"]) == (min(held), max(held))
        assert abs(row["mean"] - sum(held) / len(held)) <= 0.05 + 1e-9


def test_the_shop_over_files(ferris: Ferris) -> None:
    """Without a broker: the same queries from files to files, with ops where topics have keys and deletes."""
    text = (EXAMPLES / "kafka" / "shop.sql").read_text("utf-8")
    text = re.sub(r"'kafka', 'topic' = 'shop\.(\w+)'", r"'file', 'path' = '\1.jsonl'", text)
    text = text.replace(", 'create.topic' = 'true'", "")
    of_table = "'path' = 'customers.jsonl', 'changelog' = 'retract'"
    ferris.write(shop__sql=text.replace("'path' = 'customers.jsonl'", of_table))
    given = orders_and_payments(2_000)
    for name, timed in zip(("orders", "payments"), given, strict=True):
        (ferris.folder / f"{name}.jsonl").write_text("".join(f"{_text(record)}\n" for _, record in timed), "utf-8")
    table, enriched = Customers(), None
    for changes in (customers(), moves()):
        with (ferris.folder / "customers.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(table.take(changes))
        asked = Answer(given, table.rows)
        enriched = enriched or asked.enriched()
        ran = ferris("run", "shop.sql")
        assert ran.code == 0, ran.err
        assert sorted(map(_row, ferris.lines("enriched.jsonl"))) == enriched
        assert sorted(map(_row, ferris.lines("settled.jsonl"))) == asked.settled()
        assert folded(ferris.lines("totals.jsonl"), "customer") == asked.totals()
        assert folded(ferris.lines("countries.jsonl"), "country") == asked.countries()
    assert "LI" in {row["country"] for row in ferris.lines("countries.jsonl")}
    assert "LI" not in {country for country, *_ in asked.countries()}
    audit = ferris("audit", "shop.sql")
    assert audit.code == 0, audit.out


def test_the_shop_over_topics_with_a_kill(
    kafka: Cluster, topic_name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What `make demo-kafka` shows of it, with fewer orders."""
    text = (EXAMPLES / "kafka" / "shop.sql").read_text("utf-8").replace("'shop.", f"'{topic_name}.")
    application = tmp_path / "shop.sql"
    application.write_text(f"-- @app: {topic_name}\n{text}", "utf-8")
    count = 2_000
    shop = Shop(kafka, application, tmp_path / "state", topic_name)
    show(shop, count)
    printed = capfd.readouterr().out
    assert printed.count("every record is accounted for\n") == 4, printed
    given, half, table = orders_and_payments(count), halfway(count), Customers()
    table.take(customers())
    before = Answer(([timed for timed in given[0] if timed[0] < half], []), table.rows)
    table.take(moves())
    after = Answer(([timed for timed in given[0] if timed[0] >= half], []), table.rows)
    assert _read(shop, "enriched") == sorted([*before.enriched(), *after.enriched()])
    asked = Answer(given, table.rows)
    assert _read(shop, "settled") == asked.settled()
    for name, expected in (("totals", asked.totals()), ("countries", asked.countries())):
        latest = shop.latest(name)
        assert sorted(_row(json.loads(value)) for value in latest.values()) == expected
        assert sorted(latest) == [key for key, *_ in expected]


class Customers:
    """The table of customers, kept in the plainest way."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, str]] = {}

    def take(self, records: Iterable[Record]) -> list[str]:
        """Take messages; the same as lines of a file with ops."""
        lines = []
        for record in records:
            id_ = (record.key or b"").decode()
            if record.value is None:
                del self.rows[id_]
                lines.append(json.dumps({"op": "-D", "id": id_}) + "\n")
            else:
                op = "+U" if id_ in self.rows else "+I"
                self.rows[id_] = json.loads(record.value)
                lines.append(json.dumps({"op": op, "id": id_, **self.rows[id_]}) + "\n")
        return lines


class Answer:
    """What DuckDB says of these orders, payments and customers."""

    def __init__(self, given: tuple[list[Timed], list[Timed]], table: Mapping[str, Mapping[str, str]]) -> None:
        self._duckdb = duckdb.connect()
        self._fill("orders", "id BIGINT, customer VARCHAR, placed_at VARCHAR, amount DECIMAL(10, 2)", given[0])
        self._fill("payments", "order_id BIGINT, paid_at VARCHAR, amount DECIMAL(10, 2)", given[1])
        self._duckdb.execute("CREATE TABLE customers (id VARCHAR, name VARCHAR, country VARCHAR)")
        for id_, row in table.items():
            self._duckdb.execute("INSERT INTO customers VALUES (?, ?, ?)", [id_, row["name"], row["country"]])

    def _fill(self, name: str, columns: str, timed: list[Timed]) -> None:
        self._duckdb.execute(f"CREATE TABLE {name} ({columns})")
        read = ", ".join(f"row ->> '{column}'" for column, *_ in self._duckdb.execute(f"DESCRIBE {name}").fetchall())
        rows = [_text(record) for _, record in timed]
        self._duckdb.execute(f"INSERT INTO {name} SELECT {read} FROM (SELECT unnest(CAST(? AS JSON[])) AS row)", [rows])

    def enriched(self) -> list[Row]:
        return self._rows("""SELECT o.id, o.placed_at, o.amount, c.name, c.country
            FROM orders o LEFT JOIN customers c ON o.customer = c.id""")

    def settled(self) -> list[Row]:
        return self._rows(f"SELECT id, customer, amount, paid_at, paid FROM ({SETTLED})")

    def totals(self) -> list[Row]:
        return self._rows(f"SELECT customer, count(DISTINCT id), sum(paid) FROM ({SETTLED}) GROUP BY customer")

    def countries(self) -> list[Row]:
        return self._rows(f"""SELECT country, count(DISTINCT customer), sum(paid) FROM ({SETTLED}) s
            JOIN customers c ON s.customer = c.id GROUP BY country HAVING sum(paid) > 0""")

    def _rows(self, query: str) -> list[Row]:
        found = self._duckdb.execute(query).fetchall()
        return sorted(tuple("" if value is None else _plain(str(value)) for value in row) for row in found)


SETTLED = """SELECT o.id, o.customer, o.amount, p.paid_at, p.amount AS paid FROM orders o LEFT JOIN payments p
    ON o.id = p.order_id AND p.paid_at::TIMESTAMP BETWEEN o.placed_at::TIMESTAMP
    AND o.placed_at::TIMESTAMP + INTERVAL '2' MINUTE"""


def folded(lines: list[dict[str, object]], key: str) -> list[Row]:
    """The last row of each key, but those that are deleted."""
    found = {line[key]: line for line in lines if line.get("op") != "-U"}
    left = [{n: v for n, v in line.items() if n != "op"} for line in found.values() if line.get("op") != "-D"]
    return sorted(map(_row, left))


def _read(shop: Shop, name: str) -> list[Row]:
    records = shop.cluster.read(shop.topic(name))
    return sorted(_row(json.loads(record.value or b"")) for record in records)


def _row(values: Mapping[str, object]) -> Row:
    return tuple("" if value is None else _plain(str(value)) for value in values.values())


def _plain(text: str) -> str:
    """A number or a timestamp without zeros at its end."""
    if text.endswith("Z"):
        return text[:-1].rstrip("0").rstrip(".") if "." in text else text[:-1]
    return text.rstrip("0").rstrip(".") if re.fullmatch(r"-?\d+\.\d+", text) else text


def _text(record: Record) -> str:
    return (record.value or b"").decode()
