"""`ferris config show`: what holds for a job, and who said so."""

from __future__ import annotations

import json

import pytest

from tests.surfaces.conftest import Ferris

APPLICATION = """CREATE STREAM given (id BIGINT) WITH ('connector' = 'kafka', 'bootstrap.servers' = 'localhost:1');
CREATE STREAM out WITH ('connector' = 'kafka', 'bootstrap.servers' = 'localhost:1',
    'kafka.compression.type' = 'zstd', 'sink.batch.size' = 50) AS
SELECT id FROM given;
"""

SECRETS = (
    "sasl.password", "ssl.key.password", "ssl.keystore.password", "ssl.key.pem", "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
)  # fmt: skip


def test_every_property_of_the_client_says_where_it_comes_from(ferris: Ferris) -> None:
    ferris.write(app__sql=APPLICATION)
    ran = ferris("config", "show", "app.sql", "--origin", "--set", "kafka.linger.ms=7", "--set", "commit.interval=2s")
    assert ran.code == 0, ran.err
    source, sink = ran.out.split("  sink out (kafka)\n")
    assert "    kafka.isolation.level: read_committed  (required)" in source.splitlines()
    assert "    kafka.fetch.wait.max.ms: 100  (suggested)" in source.splitlines()
    assert source.startswith("job out\n  source given (kafka)\n    connector: kafka  (user: app.sql:1:53)\n")
    for line in (
        "    kafka.acks: all  (required)",
        "    kafka.compression.type: zstd  (user: app.sql:3:32)",
        "    kafka.linger.ms: 7  (user: --set)",
        "    kafka.batch.num.messages: 50  (suggested by batch.size=50)",
        "    kafka.partitioner: murmur2_random  (suggested)",
        "    commit.interval: 2s  (user: --set)",
        "    commit.heartbeat: 1h  (default)",
    ):
        assert line in sink.splitlines()


def test_origins_are_shown_only_when_asked_for(ferris: Ferris) -> None:
    ferris.write(app__sql=APPLICATION)
    ran = ferris("config", "show", "app.sql")
    assert "    kafka.acks: all\n" in ran.out
    assert "(required)" not in ran.out


@pytest.mark.parametrize("form", ["json", "table"])
def test_secrets_are_masked_in_every_form(form: str, ferris: Ferris) -> None:
    ferris.write(app__sql=APPLICATION)
    given = [f"kafka.{name}=open sesame" for name in SECRETS if name != "ssl.key.pem"]
    ran = ferris("config", "show", "app.sql", "--origin", "-o", form, *(f"--set={each}" for each in given))
    assert ran.code == 0, ran.err
    assert "sesame" not in ran.out + ran.err
    assert ran.out.count("********") == 2 * len(given)


def test_json_has_the_same(ferris: Ferris) -> None:
    ferris.write(app__sql=APPLICATION)
    ran = ferris("config", "show", "app.sql", "--job", "out", "-o", "json")
    (job,) = json.loads(ran.out)["jobs"]
    shown = {setting["name"]: setting for setting in job["sink"]["settings"]}
    assert shown["kafka.acks"] == {"name": "kafka.acks", "value": "all", "origin": "required", "by": ""}
    assert shown["kafka.batch.num.messages"]["by"] == "batch.size=50"
    assert shown["batch.size"]["origin"] == "user"
    assert shown["batch.timeout"] == {"name": "batch.timeout", "value": "100ms", "origin": "default", "by": ""}


def test_job_between_files_has_no_client(ferris: Ferris) -> None:
    ferris.write(app__sql="SELECT id FROM 'in.csv';", in__csv="id\n1\n")
    ran = ferris("config", "show", "app.sql", "--origin")
    assert ran.code == 0, ran.err
    assert "kafka." not in ran.out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--job", "none"), 2, "no job is named 'none'"),
        (("--set", "kafka.acks=1"), 1, "contradicts what delivery needs"),
        (("--set", "kafka.lingre.ms=1"), 1, "no such property of the Kafka client"),
    ],
)
def test_what_is_wrong_is_told(arguments: tuple[str, str], code: int, said: str, ferris: Ferris) -> None:
    ferris.write(app__sql=APPLICATION)
    ran = ferris("config", "show", "app.sql", *arguments)
    assert ran.code == code
    assert said in ran.err
