"""`ferris new`: a folder with an application, its data, a test and a README that run as they stand."""

from __future__ import annotations

from pathlib import Path

from ferrisstreams.errors import ConfigError

_COLUMNS = """\
  at TIMESTAMP,
  product TEXT,
  quantity INTEGER,
  WATERMARK FOR at AS at - INTERVAL '5' SECOND"""

_QUERY = """\
SELECT window_start, product, count(*) AS orders, sum(quantity) AS sold
FROM orders
GROUP BY product, TUMBLE(at, INTERVAL '1' MINUTE)"""

_FILE = f"""\
-- What is sold of each product, minute by minute.
CREATE STREAM orders (
{_COLUMNS}
) WITH ('connector' = 'file', 'path' = 'orders.jsonl');

CREATE STREAM sales WITH ('connector' = 'file', 'path' = 'sales.jsonl') AS
{_QUERY};
"""

_TOPIC = f"""\
-- What is sold of each product, minute by minute. Topics that do not exist are created.
CREATE STREAM orders (
{_COLUMNS}
) WITH ('connector' = 'kafka', 'bootstrap.servers' = 'localhost:9092', 'topic' = 'orders');

CREATE STREAM sales WITH (
  'connector' = 'kafka', 'bootstrap.servers' = 'localhost:9092', 'topic' = 'sales', 'create.topic' = 'true'
) AS
{_QUERY};
"""

_LOAD = """\
-- Fills the topic of orders from a file.
CREATE STREAM lines (at TIMESTAMP, product TEXT, quantity INTEGER)
WITH ('connector' = 'file', 'path' = 'orders.jsonl');

CREATE STREAM orders WITH (
  'connector' = 'kafka', 'bootstrap.servers' = 'localhost:9092', 'topic' = 'orders', 'create.topic' = 'true'
) AS
SELECT at, product, quantity FROM lines;
"""

_ORDERS = """\
{"at": "2024-05-01T10:00:01Z", "product": "tea", "quantity": 2}
{"at": "2024-05-01T10:00:30Z", "product": "milk", "quantity": 1}
{"at": "2024-05-01T10:00:59Z", "product": "tea", "quantity": 1}
{"at": "2024-05-01T10:01:20Z", "product": "tea", "quantity": 3}
{"at": "2024-05-01T10:00:40Z", "product": "milk", "quantity": 9}
"""

_TEST = f"""\
# An order that comes after its minute has closed is late.
stream orders (at TIMESTAMP, product TEXT, quantity INTEGER, WATERMARK FOR at AS at - INTERVAL '5' SECOND)
  at     product  quantity
  00:01  tea      2
  00:30  milk     1
  00:59  tea      1
  01:20  tea      3        -- the watermark is 01:15: the first minute closes
  00:40  milk     9        -- late
query
{"".join(f"  {line}{chr(10)}" for line in _QUERY.splitlines())}output
  window_start  product  orders  sold
  00:00         milk     1       1
  00:00         tea      2       3
  01:00         tea      1       3
ledger read 5 absorbed 4 late 1 produced 3 written 3
"""

_README = """\
# {name}

Counts what is sold of each product, minute by minute. `app.sql` is the application, `orders.jsonl` its data, and
`app.test` its test.

```console
$ ferris check app.sql
$ ferris test app.test
$ ferris run app.sql
$ cat sales.jsonl
```

The fifth order comes after its minute has closed: the summary counts it as late. Append lines to `orders.jsonl` and run
again: only they are read. `ferris explain app.sql` shows the plan, `ferris run app.sql --overwrite` starts over.
"""

_KAFKA_README = """\
# {name}

Counts what is sold of each product, minute by minute, from the topic `orders` to the topic `sales` of the broker at
localhost:9092 (`bootstrap.servers` in `app.sql` and `load.sql`).
`load.sql` fills the topic from `orders.jsonl`, and `app.test` is a test.

```console
$ ferris check app.sql
$ ferris test app.test
$ ferris run load.sql
$ ferris run app.sql --once --drain
```

Without `--once` the job waits for more orders until Ctrl-C; without `--drain` the last minute stays open until a later
order comes.
"""


def make_project(name: str, kafka: bool) -> None:
    """Raises ConfigError E3002 for a folder that cannot be made, or that holds something."""
    folder = Path(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = next(folder.iterdir(), None)
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror}", "E3002", "give the name of a new folder") from error
    if held is not None:
        raise ConfigError(f"{name} is not empty: it holds {held.name}", "E3002", "give the name of a new folder")
    texts = {"app.sql": _TOPIC if kafka else _FILE, "app.test": _TEST, "orders.jsonl": _ORDERS}
    texts |= {"load.sql": _LOAD} if kafka else {}
    texts["README.md"] = (_KAFKA_README if kafka else _README).format(name=folder.resolve().name)
    for file, text in texts.items():
        (folder / file).write_text(text, "utf-8")
    print(f"made {name}: {', '.join(texts)}\nnext: cd {name} && ferris run {'load' if kafka else 'app'}.sql")
