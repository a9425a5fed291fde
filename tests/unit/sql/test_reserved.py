"""Columns whose names are words of SQL: read as the column, or refused where they stand."""

from __future__ import annotations

import re

import pytest

from ferrisstreams.duck.engine import Engine, EngineSettings
from ferrisstreams.errors import SqlError
from ferrisstreams.plan.nodes import Project
from ferrisstreams.sql.application import parse_application
from ferrisstreams.sql.dialect import Ferris
from ferrisstreams.sql.formatter import format_text
from ferrisstreams.sql.statements import StreamAs, parse_statements

FORMS = (
    "SELECT {}, id FROM s",
    "SELECT abs({}) AS x FROM s WHERE 1 < {} AND {} IS NOT NULL",
    "SELECT id AS {}, count(*) AS n FROM s GROUP BY {}, id",
)

#: Values of SQL without brackets: a declaration refuses them as names, and a query where a column has that name.
VALUES = {
    "null", "true", "false", "current_catalog", "current_date", "current_time", "current_timestamp", "current_user",
    "localtime", "localtimestamp", "session_user",
}  # fmt: skip
#: Words behind which an expression may begin, or a query: what they are is decided behind them.
PREFIXES = {"and", "case", "lambda", "not", "or", "select", "distinct", "limit", "offset"}


def words() -> list[str]:
    engine = Engine(EngineSettings())
    found = {str(row[0]).lower() for row in engine.work.rows("SELECT keyword_name FROM duckdb_keywords()")}
    engine.close()
    found |= {word.lower() for word in Ferris.Tokenizer.KEYWORDS if re.fullmatch(r"\w+", word)}
    return sorted(found)


def read(text: str) -> str | SqlError:
    """The query with all names quoted, or why it is refused."""
    try:
        (statement,) = parse_statements(text, "app.sql").statements
    except SqlError as error:
        return error
    assert isinstance(statement, StreamAs)
    return statement.query.sql("duckdb", identify=True)


def test_every_word_is_a_name_or_refused_in_its_place() -> None:
    names = 0
    for word in words():
        for form in FORMS:
            got = read(form.replace("{}", word))
            if isinstance(got, SqlError):
                assert got.position is not None
                assert word in PREFIXES or "quote" in str(got.hint), (word, form, str(got))
                continue
            assert got == read(form.replace("{}", f'"{word}"')) or word in VALUES | PREFIXES, (word, form)
            names += 1
    assert names > 1200


COLUMNS = (
    'CREATE STREAM s ("all" INT, "current_date" INT, "when" INT, id INT, f BOOLEAN, k TEXT) WITH (path = \'x.jsonl\');'
)


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("SELECT all, id FROM s", "all"), ("SELECT id, all FROM s", "all"), ("SELECT all FROM s", "all"),
        ("SELECT all + 1 AS x FROM s", "all"), ("SELECT abs(all) AS x FROM s", "all"),
        ("SELECT id FROM s WHERE all > 1", "all"), ("SELECT as FROM s", "as"), ("SELECT fetch, id FROM s", "fetch"),
        ("SELECT any + 1 AS x FROM s", "any"), ("SELECT id FROM s WHERE from > 1", "from"),
        ("SELECT when, id FROM s", "when"), ("SELECT current_date FROM s", "current_date"),
    ],
)  # fmt: skip
def test_word_that_would_be_lost_is_refused(query: str, word: str) -> None:
    with pytest.raises(SqlError) as refused:
        parse_application(COLUMNS + query, "app.sql")
    position = refused.value.position
    assert position is not None
    assert position.column == len(COLUMNS) + query.index(word) + 1
    assert refused.value.hint == f'quote it where it is a name: "{word}"'


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ('SELECT "all", id FROM s', '"all"'), ("SELECT s.all, id FROM s", '"all"'), ("SELECT id AS all FROM s", '"id"'),
        ("SELECT f IS DISTINCT FROM true AS x FROM s", '"f" IS DISTINCT FROM TRUE'),
        ("SELECT id IS NOT DISTINCT FROM -1 AS x FROM s", '"id" IS NOT DISTINCT FROM -1'),
        ("SELECT substring(k FROM -1) AS x FROM s", 'SUBSTRING("k", -1)'),
        ("SELECT id, count(DISTINCT f) AS n FROM s GROUP BY ALL", '"id"'),
        ("SELECT current_date() AS d FROM s", 'CURRENT_DATE()'),
    ],
)  # fmt: skip
def test_word_in_its_own_place_is_read(query: str, first: str) -> None:
    project = parse_application(COLUMNS.replace('"current_date" INT,', "") + query, "app.sql").jobs[0].plan.input
    assert isinstance(project, Project)
    found = project.columns[0].expression.sql("duckdb")
    assert found == first or found.startswith('"_computed')


@pytest.mark.parametrize("name", ["null", "true", "current_date", "localtime"])
def test_column_cannot_be_declared_as_a_value(name: str) -> None:
    with pytest.raises(SqlError, match="is a value of SQL, not a name"):
        parse_statements(f"CREATE STREAM s ({name} INT) WITH (path = 'x')", "app.sql")
    parse_statements(f"CREATE STREAM s (\"{name}\" INT) WITH (path = 'x')", "app.sql")


def test_setting_may_be_named_by_any_words() -> None:
    text = "CREATE STREAM t (a INT) WITH (connector = 'file', path = 'x', fetch-size = 1);"
    assert "fetch-size" in format_text(text, "app.sql")
