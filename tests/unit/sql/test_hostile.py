"""Whatever the text, the answer is a plan or a `SqlError` with a place in the text."""

from __future__ import annotations

import logging

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ferrisstreams.errors import SqlError
from ferrisstreams.sql.application import parse_application
from ferrisstreams.sql.printer import print_script
from ferrisstreams.sql.statements import parse_statements

DECLARED = """CREATE STREAM t (a INT, b VARCHAR, c DECIMAL(10,2), l INT[], s STRUCT(x INT), ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH (path = 't.jsonl');
"""
SEEDS = (
    "CREATE STREAM out AS SELECT a, count(*) AS n, window_start FROM t WHERE c > 1.1 GROUP BY a, TUMBLE(ts, 1m)",
    "SELECT list_transform(l, x -> x + a) AS m, s.x, b || 'y', CASE WHEN a > 1 THEN 'p' END FROM t WITH (path = 'x')",
    "WITH q AS (SELECT a * 2 AS d, ts FROM t) SELECT d, sum(d) / count(*) FROM q GROUP BY d WINDOW SLIDING(5m, 1m)",
    "SELECT * EXCLUDE (l) REPLACE (a + 1 AS a), t.s.x FROM t WHERE b IN ('u', 'v') AND NOT a BETWEEN 1 AND 2",
    "CREATE STREAM u (k INT NOT NULL, at TIMESTAMP(3)) WITH ('event.time.field' = 'at', rows = -5, x = true)",
    "CREATE VIEW v AS SELECT first(a ORDER BY ts), count(DISTINCT b) FILTER (WHERE a > 1) FROM t; FROM v",
)
WORDS = (
    "SELECT", "FROM", "WHERE", "GROUP BY", "EMIT", "CHANGES", "WITH", "(", ")", ",", ";", "AS", "a", "t", "'",
    '"', "`", "--", "/*", "*/", "1", "1e999", "1m", "INTERVAL", "TUMBLE(", "count(*)", "::", ".", "*", "->",
    "[", "]", "{", "}", "$$", "?", "@", "#1", '\\', "OVER", "JOIN", "CASE", "END", "NOT", "NULL",
    "CREATE STREAM", "WINDOW", "read_csv(", "{#", "{%", "{{", "LAMBDA", ":=", "=>", "|>", "e'", "x'", "0x", '\xe9',
    '\u2028', '\U0001f600',
)  # fmt: skip


def _refusal(text: str) -> SqlError | None:
    try:
        parse_application(DECLARED + text, "app.sql")
    except SqlError as error:
        return error
    return None


def _canonical(text: str) -> str | None:
    try:
        return print_script(parse_statements(text, "app.sql"))
    except SqlError:
        return None


def _parses_or_refuses(text: str) -> None:
    error = _refusal(text)
    if error is not None:
        assert error.position is not None
        assert error.position.line >= 1
        assert error.position.column >= 1
        assert "Token" not in error.message
    printed = _canonical(text)
    assert printed is None or _canonical(printed) == printed


@st.composite
def mutated(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        stop = draw(st.integers(start, min(len(text), start + 12)))
        middle = draw(st.sampled_from(WORDS) | st.just("") | st.text(max_size=3))
        space = draw(st.sampled_from(("", " ")))
        text = text[:start] + space + middle + space + text[stop:]
    return text


FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@FUZZ
@given(mutated())
def test_mutated_statements_parse_or_are_refused(text: str) -> None:
    _parses_or_refuses(text)


@FUZZ
@given(st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join))
def test_words_in_any_order_parse_or_are_refused(text: str) -> None:
    _parses_or_refuses(text)


@FUZZ
@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
@example("\ud800")
@example("\x00")
@example("SELECT '\ud800' FROM t")
def test_any_characters_parse_or_are_refused(text: str) -> None:
    _parses_or_refuses(text)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT " + "(" * 1000 + "a" + ")" * 1000 + " FROM t",
        "SELECT " + "NOT " * 3000 + "a FROM t",
        "SELECT " + "upper(" * 1000 + "b" + ")" * 1000 + " FROM t",
        "SELECT a FROM " + "(SELECT a FROM " * 1000 + "t" + ")" * 1000,
        "SELECT " + "[" * 2000,
        "SELECT a FROM t WHERE " + " AND ".join(["a > 1"] * 1000),
        "SELECT " + "+".join(["a"] * 30_000) + " FROM t",
        "SELECT '" + "x" * 1_000_000 + "' FROM missing",
        "-- " + "x" * 1_000_000,
        "/*" * 100_000,
        "SELECT CASE " + "WHEN a > 1 THEN 1 " * 500 + "END FROM t",
    ],
    ids=lambda text: text[:24],
)
def test_long_and_deep_statements_parse_or_are_refused(text: str) -> None:
    _parses_or_refuses(text)


def test_the_parser_writes_nothing_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for text in ("SHOW x", "CREATE TABLE t PARTITION", "SELECT last(a IGNORE NULLS) FROM t", "EXPLAIN SELECT 1"):
            with pytest.raises(SqlError):
                parse_application(DECLARED + text, "app.sql")
    assert not caplog.records
