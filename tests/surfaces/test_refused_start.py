"""A start that is refused leaves nothing behind: no state, no file, no topic."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.broker import Cluster
from tests.surfaces.conftest import Ferris

IN_FILE = "connector='file', path='in.jsonl'"
FAILING = IN_FILE + ", 'batch.size'=1, 'failure_strategy'='fail_batch'"
OUT_FILE = "connector='file', path='out.jsonl'"
IN_TOPIC = "connector='kafka', topic='{topic}-none', 'bootstrap.servers'='{servers}'"
OUT_TOPIC = "connector='kafka', topic='{topic}-made', 'create.topic'='true', 'bootstrap.servers'='{servers}'"
NO_TOPIC = "connector='kafka', topic='{topic}-none', 'bootstrap.servers'='{servers}'"
NO_BROKER = "connector='kafka', topic='t', 'bootstrap.servers'='127.0.0.1:1', 'max_retries'=0"

#: Source, sink, what is in the folder before, and the code of the refusal.
REFUSED = {
    "no input": (IN_FILE, OUT_FILE, {}, "E4001"),
    "output not empty": (IN_FILE, OUT_FILE, {"in.jsonl": '{"id": 1}\n', "out.jsonl": "kept\n"}, "E4004"),
    "letters not empty": (IN_FILE, OUT_FILE, {"in.jsonl": '{"id": 1}\n', "letters.jsonl": "kept\n"}, "E4004"),
    "rotated output not empty": (
        IN_FILE,
        "connector='file', path='out-{n}.jsonl', 'rotate.rows'=1",
        {"in.jsonl": '{"id": 1}\n', "out-1.jsonl": "kept\n"},
        "E4004",
    ),
    "no topic to read, file": (IN_TOPIC, OUT_FILE, {}, "E4103"),
    "no topic to read, topic": (IN_TOPIC, OUT_TOPIC, {}, "E4103"),
    "no file to read, topic": (IN_FILE, OUT_TOPIC, {}, "E4001"),
    "no topic to write": (IN_FILE, NO_TOPIC, {"in.jsonl": '{"id": 1}\n'}, "E4103"),
    "letters of a topic not empty": (
        IN_FILE,
        OUT_TOPIC + ", 'dlq.path'='letters.jsonl'",
        {"in.jsonl": '{"id": 1}\n', "letters.jsonl": "kept\n"},
        "E4004",
    ),
    "first row fails, topic": (FAILING, OUT_TOPIC, {"in.jsonl": '{"id": "odd"}\n'}, "E6001"),
    "second row fails, topic": (FAILING, OUT_TOPIC, {"in.jsonl": '{"id": 1}\n{"id": "odd"}\n'}, "E6001"),
    "no broker": (IN_FILE, NO_BROKER, {"in.jsonl": '{"id": 1}\n'}, "E4101"),
}


def held(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() if path.is_file() else "/" for path in folder.rglob("*")}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_start_leaves_nothing_behind(name: str, ferris: Ferris, kafka: Cluster, topic_name: str) -> None:
    source, sink, files, code = REFUSED[name]
    sink = sink.replace("{topic}", topic_name).replace("{servers}", kafka.bootstrap_servers)
    source = source.replace("{topic}", topic_name).replace("{servers}", kafka.bootstrap_servers)
    letters = ", 'dlq.path'='letters.jsonl'" if "file" in sink else ""
    for file, text in files.items():
        (ferris.folder / file).write_text(text)
    app = (
        f"-- @app: {topic_name}\nCREATE STREAM events (id INT) WITH ({source});\n"
        f"CREATE STREAM out WITH ({sink}, 'failure_strategy'='send_to_dlq'{letters}) AS SELECT id FROM events;\n"
    )
    (ferris.folder / "app.sql").write_text(app)
    before = held(ferris.folder)
    refused = ferris("run", "app.sql", "--once", "-o", "json")
    assert refused.code == 1
    assert refused.job["error"]["code"] == code, refused.err
    assert held(ferris.folder) == before
    assert [name for name in kafka.topics.names() if name.startswith(topic_name)] == []


def test_refused_start_leaves_what_was_there(ferris: Ferris) -> None:
    (ferris.folder / "in.jsonl").write_text('{"id": 1}\n')
    app = f"CREATE STREAM e (id INT) WITH ({IN_FILE}); CREATE STREAM o WITH ({OUT_FILE}) AS SELECT id FROM e;"
    (ferris.folder / "app.sql").write_text(app)
    assert ferris("run", "app.sql").code == 0
    (ferris.folder / "in.jsonl").write_text('{"id": 2}\n')
    before = set((ferris.folder / ".ferris").rglob("*"))
    refused = ferris("run", "app.sql", "-o", "json").job
    assert refused["error"]["code"] == "E4002"
    assert (refused["rows"], refused["ledger"]["written"]) == (0, 1)
    assert set((ferris.folder / ".ferris").rglob("*")) == before
