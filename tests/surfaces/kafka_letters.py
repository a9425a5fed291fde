"""A topic with records that become dead letters, and a job that has read it."""

from __future__ import annotations

from tests.broker import Cluster, Record
from tests.surfaces.conftest import Ferris

BAD = (
    Record(b'{"id": "one"}', b"key \xff", (("trace", b"\x00\x01"), ("empty", None), ("trace", b"again"))),
    Record(b"\xff\xfe not json"),
    Record(b'{"id": 3} {"id": 4}', b"twice"),
)


def run_over_bad(kafka: Cluster, ferris: Ferris, topic: str, application: str) -> None:
    """Fill the topic, two good records around `BAD`, and run the application (with `{topic}`, `{servers}`) over it."""
    kafka.create_topic(topic)
    kafka.write(topic, [b'{"id": 1}', *BAD, b'{"id": 2}'])
    ferris.write(app__sql=application.format(topic=topic, servers=kafka.bootstrap_servers))
    ran = ferris("run", "app.sql", "--once")
    assert ran.code == 0, ran.err


def bare(record: Record) -> tuple[object, ...]:
    """Key, value and headers without the count of replays."""
    return record.key, record.value, tuple(header for header in record.headers if header[0] != "ferris.replays")
