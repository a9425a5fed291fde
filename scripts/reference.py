"""Write the reference pages from the registries: `configuration.md`, `errors.md` and `metrics.md` in `docs`.

And the list of the engine's functions beside `ferrisstreams.sql.functions`.
"""

from __future__ import annotations

import json
from pathlib import Path

from ferrisstreams.config.kinds import value_text
from ferrisstreams.config.registry import BATCH_KEYS, CONNECTOR_KEYS, FAILURE_KEYS, JOB_KEYS, TIME_KEYS, Key
from ferrisstreams.duck.engine import ENGINE_VERSION
from ferrisstreams.duck.scratch import scratch_engine
from ferrisstreams.errors import CODES
from ferrisstreams.sql.functions import LIST, ask_functions
from ferrisstreams.telemetry.metrics import METRICS

DOCS = Path(__file__).resolve().parent.parent / "docs"

CONFIGURATION_HEAD = """# Configuration

Made by `make docs` from the registry of keys; not to be edited.

A key stands in the `WITH (…)` of a source, or in the `WITH (…)` of the stream that a job writes (sink and job share
it). `ferris run --set key=value` sets a key for every job that knows it, and wins over the text. Durations and sizes
are written with their unit (`100ms`, `5s`, `4MB`). An unknown key, or one that does not belong to the connector, is an
error that says what was meant. A key *for source and job* may also be given to the job with the prefix `source.`; one
of failures also with the prefix `sink.`.

```sql
CREATE STREAM trades (symbol TEXT, price DOUBLE, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH ('connector' = 'file', 'path' = 'trades.jsonl', 'format' = 'json');

CREATE STREAM minutes WITH ('connector' = 'file', 'path' = 'minutes.jsonl', 'commit.interval' = '500ms') AS
SELECT window_start, symbol, count(*) AS n FROM trades GROUP BY symbol, TUMBLE(ts, INTERVAL '1' MINUTE);
```
"""

ERRORS_HEAD = """# Errors

Made by `make docs` from the registry of codes; not to be edited.

Every error has a code that never changes its meaning. It is printed as `file:LINE:COLUMN: message [code]`, with the
line, a caret and a hint where there is something to do. A row that fails is not an error of the job: it is counted,
logged or kept as a dead letter, as its failure strategy says, with the same kind of code.
"""

METRICS_HEAD = """# Metrics

Made by `make docs` from the registry of metrics; not to be edited.

Where standard error is not a terminal, `ferris run` writes a line of progress every ten seconds, a JSON object with the
event `progress`. With `-o json` it has a list `metrics`: name, labels and value of each. What there is not (the lag of
a file, a watermark before the first row, figures of a client that reports none) is not in the list. Figures of the
Kafka client are as of its last report, once a second (`'kafka.statistics.interval.ms'`; 0: none); they start over when
a job reconnects.

| metric | kind | unit | labels | meaning |
| --- | --- | --- | --- | --- |
"""

#: The first digits of a code, and who must act.
FAMILIES = {
    "E1": ("SQL", "The author of the statement acts. Nothing was started."),
    "E2": ("Rows", "The owner of the data acts. The row alone fails; `failure_strategy` decides what becomes of it."),
    "E3": ("Settings", "The operator of the job acts. Nothing was started."),
    "E4": ("Connectors", "The operator acts on the outside system. The epoch is rolled back and the job has failed."),
    "E5": ("State", "The operator acts. The job does not start, and nothing was touched."),
    "E6": ("Jobs", "The operator acts. The epoch is rolled back and the job has failed."),
    "E9": ("Ours", "A bug in FerrisStreams. The job stops; please report it."),
}


def default_text(key: Key) -> str:
    """A default as a user would write it; empty when it is off, found out, or must be given."""
    value = key.default
    return "" if value is None or value == "" else f"`{value_text(key.kind, value)}`"


def key_row(key: Key) -> str:
    owner = " and ".join(scope.value for scope in key.scopes)
    owner += f" ({', '.join(key.connectors)})" if key.connectors else ""
    others = ", ".join(f"`{name}`" for name in key.aliases)
    aliases = f" Also written {others}." if others else ""
    return f"| `{key.name}` | {owner} | {key.kind.name} | {default_text(key)} | {key.sentence}{aliases} |"


def configuration_page() -> str:
    sections = {
        "Connectors": CONNECTOR_KEYS,
        "Time": TIME_KEYS,
        "Batches": BATCH_KEYS,
        "Failures": FAILURE_KEYS,
        "Jobs": JOB_KEYS,
    }
    parts = [CONFIGURATION_HEAD]
    for title, keys in sections.items():
        head = [f"## {title}", "", "| key | for | value | default | meaning |", "| --- | --- | --- | --- | --- |"]
        parts.append("\n".join([*head, *map(key_row, keys)]) + "\n")
    return "\n".join(parts)


def errors_page() -> str:
    parts = [ERRORS_HEAD]
    for family, (title, who) in FAMILIES.items():
        rows = [f"| `{code}` | {meaning} |" for code, meaning in CODES.items() if code.startswith(family)]
        parts.append("\n".join([f"## {title}", "", who, "", "| code | meaning |", "| --- | --- |", *rows]) + "\n")
    return "\n".join(parts)


def metrics_page() -> str:
    rows = (
        f"| `{metric.name}` | {metric.kind.value} | {metric.unit} | {', '.join(metric.labels)} | {metric.sentence} |\n"
        for metric in METRICS
    )
    return METRICS_HEAD + "".join(rows)


def function_list() -> str:
    with scratch_engine() as engine:
        listed = {"version": ENGINE_VERSION, "functions": ask_functions(engine.work)}
    return json.dumps(listed, indent=1) + "\n"


def main() -> None:
    LIST.write_text(function_list(), "utf-8")
    (DOCS / "configuration.md").write_text(configuration_page(), "utf-8")
    (DOCS / "metrics.md").write_text(metrics_page(), "utf-8")
    (DOCS / "errors.md").write_text(errors_page(), "utf-8")


if __name__ == "__main__":
    main()
