"""Formats of files by their names, and settings of another format."""

from __future__ import annotations

import pytest

from ferrisstreams.config.registry import Scope
from ferrisstreams.config.resolve import Settings, resolve
from ferrisstreams.config.values import Property
from ferrisstreams.errors import ConfigError, Position


def resolved(connector: str = "file", scope: Scope = Scope.SOURCE, **given: str) -> Settings:
    place = Position("app.sql", 1, 1)
    return resolve({name: Property(value, place) for name, value in given.items()}, (scope,), connector)


@pytest.mark.parametrize("scope", [Scope.SOURCE, Scope.SINK])
@pytest.mark.parametrize(
    ("given", "form", "delimiter"),
    [
        ({"path": "a.csv"}, "csv", ","),
        ({"path": "data/*.CSV.gz"}, "csv", ","),
        ({"path": "a.tsv"}, "csv", "\t"),
        ({"path": "a.tsv", "delimiter": ";"}, "csv", ";"),
        ({"path": "a.jsonl.zst"}, "json", ","),
        ({"path": "events.log"}, "json", ","),
        ({"path": "a.csv", "format": "json"}, "json", ","),
        ({"path": "a.parquet", "format": "csv"}, "csv", ","),
    ],
)
def test_name_of_a_file_tells_its_format(scope: Scope, given: dict[str, str], form: str, delimiter: str) -> None:
    settings = resolved(scope=scope, **given)
    assert (settings.text("format"), settings.text("delimiter")) == (form, delimiter)


@pytest.mark.parametrize("path", ["a.parquet", "data/*.avro", "a.xlsx", "a.orc.gz"])
def test_format_that_is_not_there_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="not supported yet") as caught:
        resolved(path=path)
    assert (caught.value.code, caught.value.position) == ("E3005", Position("app.sql", 1, 1))


@pytest.mark.parametrize(
    ("connector", "given"),
    [
        ("file", {"path": "a.jsonl", "delimiter": ";"}),
        ("file", {"path": "a.jsonl", "has_headers": "true"}),
        ("file", {"path": "a", "format": "json_array", "quote": "'"}),
        ("kafka", {"topic": "t", "nulls": "NA"}),
    ],
)
def test_setting_of_another_format_is_refused(connector: str, given: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="is a setting of csv") as caught:
        resolved(connector, **given)
    assert caught.value.code == "E3005"
    assert "'format' = 'csv'" in str(caught.value.hint)


def test_setting_of_csv_passes_with_csv() -> None:
    assert resolved(path="a", format="csv_no_header", delimiter=";").text("delimiter") == ";"
    assert resolved("kafka", topic="t", format="csv", nulls="NA").text("nulls") == "NA"


@pytest.mark.parametrize(
    ("connector", "given", "owner"),
    [("file", "topic", "kafka"), ("file", "brokers", "kafka"), ("kafka", "watch", "file"), ("file", "rows", "datagen")],
)
def test_setting_of_another_connector_is_refused_with_its_owner(connector: str, given: str, owner: str) -> None:
    with pytest.raises(ConfigError, match=given) as caught:
        resolved(connector, path="a.jsonl", **{given: "1"}) if connector == "file" else resolved(
            connector, **{given: "1"}
        )
    assert caught.value.code == "E3001"
    assert owner in str(caught.value.hint)
