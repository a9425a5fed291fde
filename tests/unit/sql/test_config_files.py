"""Configuration files: what they say joins what the text says, and the text wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from ferrisstreams.config.yaml_file import read_properties
from ferrisstreams.errors import ConfigError, FerrisError
from ferrisstreams.session.application import Application
from ferrisstreams.sql.application import parse_application
from ferrisstreams.sql.relations import scans_in


def written(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, "utf-8")


def values(path: Path) -> dict[str, object]:
    return {name: prop.value for name, prop in read_properties(path).items()}


def test_nested_maps_are_dotted_names(tmp_path: Path) -> None:
    written(tmp_path, a="topic: t\nbatch: {size: 5, strategy: fixed_size}\nwatch: true\nhosts: [a, b]\n")
    expected = {"topic": "t", "batch.size": 5, "batch.strategy": "fixed_size", "watch": True, "hosts": "a,b"}
    assert values(tmp_path / "a.yaml") == expected


def test_file_extends_another_over_several_levels(tmp_path: Path) -> None:
    written(tmp_path, a="x: {one: 1, two: 2}\ny: 1", b="extends: a.yaml\nx: {two: 3}", c="extends: b.yaml\nz: 4")
    assert values(tmp_path / "c.yaml") == {"x.one": 1, "x.two": 3, "y": 1, "z": 4}


def test_variables_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FERRIS_TEST_HOST", "here")
    monkeypatch.delenv("FERRIS_TEST_NONE", raising=False)
    written(tmp_path, a="a: ${FERRIS_TEST_HOST}:9092\nb: ${FERRIS_TEST_NONE:old}\nc: ${FERRIS_TEST_NONE:-new}\nd: 'x'")
    assert values(tmp_path / "a.yaml") == {"a": "here:9092", "b": "old", "c": "new", "d": "x"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "not valid YAML"),
        ("a:\n\t- b", "not valid YAML"),
        ("- a\n- b", "the file is not a mapping"),
        ("a:", "a has no value"),
        ("a: 2024-01-01", "a must be a string, a number or a boolean"),
        ("extends: a.yaml", "extends itself"),
        ("extends: 5", "'extends' is the name of a file"),
        ("extends: missing.yaml", "cannot be read"),
        ("a: ${FERRIS_TEST_NONE}", "needs the variable FERRIS_TEST_NONE"),
        ("a: ${FERRIS_TEST_NONE:?ask the owner}", "ask the owner"),
        ("a: \x01", "is not valid YAML"),
        ("!!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_file_that_says_nothing_clear_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.delenv("FERRIS_TEST_NONE", raising=False)
    written(tmp_path, a=text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_properties(tmp_path / "a.yaml")
    assert caught.value.hint


def test_empty_file_says_nothing(tmp_path: Path) -> None:
    written(tmp_path, a="# nothing\n")
    assert values(tmp_path / "a.yaml") == {}


SQL = """
    CREATE STREAM rows (id BIGINT, name VARCHAR) WITH ('config_file' = 'source.yaml'{own});
    CREATE STREAM out AS SELECT id FROM rows WITH ('out.config_file' = 'sink.yaml');
"""
SOURCE = "datasource: {path: rows.csv, format: csv, has_headers: false}\ntype: file_source\nmetadata: {owner: me}\n"
SINK = "type: file_sink\nfile: {path: out.jsonl}\nbatch: {size: 7}\n"


def parsed(folder: Path, own: str = "", source: str = SOURCE) -> tuple[dict[str, object], dict[str, object]]:
    """The properties of source and sink, by the files and the text."""
    written(folder, source=source, sink=SINK)
    (job,) = Application.parse(SQL.format(own=own), str(folder / "app.sql")).plan.jobs
    properties = scans_in(job.plan)[0].source.properties, job.plan.spec.properties
    return tuple({key: prop.value for key, prop in found.items()} for found in properties)  # type: ignore[return-value]


def test_source_and_sink_are_configured_by_files(tmp_path: Path) -> None:
    source, sink = parsed(tmp_path)
    assert source == {"connector": "file", "path": "rows.csv", "format": "csv", "header": False}
    assert sink == {"connector": "file", "path": "out.jsonl", "batch.size": 7}


def test_text_wins_over_the_file(tmp_path: Path) -> None:
    assert parsed(tmp_path, ", 'path' = 'other.csv', 'header' = true")[0] == {
        "connector": "file", "path": "other.csv", "format": "csv", "header": True,
    }  # fmt: skip


def test_job_runs_by_its_files(tmp_path: Path) -> None:
    written(tmp_path, source=SOURCE, sink=SINK)
    (tmp_path / "rows.csv").write_text("1,ann\n2,bob\n", "utf-8")
    result = Application.parse(SQL.format(own=""), str(tmp_path / "app.sql")).run()
    assert [job.error for job in result.jobs] == [None]
    assert (tmp_path / "out.jsonl").read_text("utf-8") == '{"id":1}\n{"id":2}\n'


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (SOURCE + "performance_profiles: {fast: {a: 1}}\n", "performance_profiles.fast.a has no counterpart"),
        (SOURCE + "buffer_size: 8192\n", "buffer_size has no counterpart"),
        (SOURCE + "pth: x\n", "unknown setting 'pth'"),
        (SOURCE.replace("file_source", "file_sink"), "file_sink is not a type of a source"),
    ],
)
def test_what_a_file_says_wrongly_is_refused(tmp_path: Path, source: str, message: str) -> None:
    written(tmp_path, source=source, sink=SINK)
    with pytest.raises(FerrisError, match=message):
        Application.parse(SQL.format(own=""), str(tmp_path / "app.sql")).check()


def test_missing_file_is_named_where_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        Application.parse(SQL.format(own=""), str(tmp_path / "app.sql"))
    assert caught.value.position is not None
    assert caught.value.position.line == 2


def test_without_a_reader_a_file_is_refused() -> None:
    with pytest.raises(FerrisError, match="a configuration file cannot be read here"):
        parse_application(SQL.format(own=""), "app.sql")
