"""Whatever the text, the answer is a plan or a `SqlError` with a place in the text."""

from __future__ import annotations

import logging
import time
from cProfile import Profile

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ferrisstreams.errors import SqlError
from ferrisstreams.sql.application import parse_application
from ferrisstreams.sql.formatter import format_text
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


@pytest.mark.parametrize("text", ["", " \n\t", "-- nothing", "/* nothing */", ";;;", "-- a\r\n-- b\r\n"], ids=repr)
def test_a_text_without_a_statement_is_refused_at_its_beginning(text: str) -> None:
    with pytest.raises(SqlError, match="there is no statement here") as refused:
        parse_application(text, "app.sql")
    assert str(refused.value.position) == "app.sql:1:1"


@pytest.mark.parametrize(
    "text",
    ["'abc", '"abc', "$$abc", "$tag$abc", "e'abc", "x'41", "`abc", "/* abc"],
)
def test_what_is_never_closed_is_refused_where_it_opens(text: str) -> None:
    error = _refusal(f"SELECT {text}")
    assert error is not None
    assert "never closed" in error.message
    assert error.position is not None
    assert error.position.column in (8, 9)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT " + "9" * 400 + " AS n FROM t",
        "SELECT a FROM t WHERE a > " + "1" * 60,
        "SELECT l[" + "9" * 40 + "] AS n FROM t",
        "SELECT 0x" + "F" * 100 + " AS n FROM t",
        "SELECT INTERVAL '" + "9" * 40 + "' DAY AS n FROM t",
        "SELECT count(*) FROM t GROUP BY TUMBLE(ts, INTERVAL '" + "9" * 40 + "' DAY)",
        "SELECT count(*) FROM t WINDOW TUMBLING(" + "9" * 24 + "m)",
        "SELECT CAST(a AS DECIMAL(99999999999999999999,2)) AS n FROM t",
        "SELECT a FROM t WITH (rows = " + "9" * 400 + ")",
        "SELECT $" + "9" * 30 + " FROM t",
        "SELECT repeat(b, 99999999999999) AS n FROM t",
        "SELECT range(9999999999999) AS n FROM t",
    ],
    ids=lambda text: text[:28],
)
def test_huge_numbers_parse_or_are_refused(text: str) -> None:
    _parses_or_refuses(text)


@pytest.mark.parametrize(
    "call",
    [
        "lpad('x', 2000000000, 'y')",
        "repeat('x', 4000000000)",
        "range(500000000)",
        "upper(repeat('x', 4000000000))",
        "TRY(len(repeat('x', 4000 * 1000000)))",
        "lpad('x', 300000000, 'y') || b",
        "array_to_string(range(len(repeat('x', 300000000))), ',')",
    ],
)
def test_a_constant_that_takes_gigabytes_is_not_made_to_check_it(call: str) -> None:
    began = time.process_time()
    _refusal(f"SELECT {call} AS n FROM t")
    assert time.process_time() - began < 2


def test_a_column_costs_the_same_among_many() -> None:
    def calls(count: int) -> int:
        declared = ", ".join(f"c{number} BIGINT" for number in range(count))
        items = ", ".join(f"C{number} + 1 AS d{number}" for number in range(count))
        stream = f"CREATE STREAM s ({declared}) WITH ('connector' = 'file', 'path' = 'x.jsonl');"
        profile = Profile()
        profile.runcall(parse_application, f"{stream} SELECT {items} FROM s", "app.sql")
        return sum(entry.callcount for entry in profile.getstats())

    calls(1)
    assert calls(800) < 8 * calls(100)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT \u200ba FROM t",
        "SELECT a\u202e FROM t",
        "SELECT \u201ca\u201d FROM t",
        "SELECT a \u2013 1 AS n FROM t",
        "SELECT \u0430 FROM t",
        "SELECT \u0661 FROM t",
        "SELECT a FROM t\u037e",
        "SELECT a\uff0c b FROM t",
    ],
    ids=ascii,
)
def test_letters_that_look_like_others_are_refused_at_their_place(text: str) -> None:
    error = _refusal(text)
    assert error is not None
    assert error.position is not None
    assert error.position.line == DECLARED.count("\n") + 1


@pytest.mark.parametrize(
    "expression",
    ["a" + "::INT" * 2000, "t" + ".s" * 2000, "b" + "->'a'" * 1000, "l" + "[1]" * 1000],
    ids=lambda text: text[:8],
)
def test_a_chain_that_is_too_deep_is_refused_by_fmt_too(expression: str) -> None:
    with pytest.raises(SqlError, match="nested too deeply"):
        format_text(f"SELECT {expression} AS n FROM t", "app.sql")


def test_the_parser_writes_nothing_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for text in ("SHOW x", "CREATE TABLE t PARTITION", "SELECT last(a IGNORE NULLS) FROM t", "EXPLAIN SELECT 1"):
            with pytest.raises(SqlError):
                parse_application(DECLARED + text, "app.sql")
    assert not caplog.records
