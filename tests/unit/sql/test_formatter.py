"""`ferris fmt`: comments stay, nothing changes its meaning, and formatting again changes nothing."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ferrisstreams.duck.engine import Engine, EngineSettings
from ferrisstreams.errors import SqlError
from ferrisstreams.plan.explain import explain, explain_json
from ferrisstreams.plan.identity import SourceFacts, identity_of
from ferrisstreams.plan.nodes import ApplicationPlan, SourceSpec
from ferrisstreams.schema import Column, Schema
from ferrisstreams.sql.application import bind_script
from ferrisstreams.sql.catalog import Catalog
from ferrisstreams.sql.formatter import format_text
from ferrisstreams.sql.lexer import comments, tokenize
from ferrisstreams.sql.printer import print_script
from ferrisstreams.sql.relations import scans_in
from ferrisstreams.sql.source_text import SourceText
from ferrisstreams.sql.statements import parse_statements
from ferrisstreams.testing.execute import text_of
from ferrisstreams.testing.parser import parse, read
from tests.properties.combination import SHAPES, Shape, draw_combination
from tests.properties.draw import HypothesisDraw
from tests.sampling import one_of

ROOT = Path(__file__).parents[3]
CORPUS = ROOT / "tests" / "sql"
#: One for all: to make one costs more than to bind a text.
ENGINE = Engine(EngineSettings())
INFERRED = Schema((Column("id", "BIGINT"), Column("name", "VARCHAR"), Column("ts", "TIMESTAMP")))


def cases(folder: str) -> list[tuple[str, str]]:
    """Prelude and statement of each case of the corpus."""
    found = []
    for path in sorted((CORPUS / folder).glob("*.test")):
        prelude, *blocks = re.split(r"^# ", path.read_text("utf-8"), flags=re.M)
        found += [(prelude, block.partition("\n")[2].partition("\n----\n")[0]) for block in blocks]
    return found


PARSED = cases("parse")
PLANNED = cases("plan")


def infer(source: SourceSpec) -> Schema | None:
    return None if source.properties["connector"].value == "kafka" else INFERRED


def bound(text: str) -> ApplicationPlan:
    return bind_script(parse_statements(text, "app.sql"), ENGINE.work, Catalog(None, infer, None))


def meaning(plan: ApplicationPlan) -> list[object]:
    """All that a plan says, without the places in the text."""
    found: list[object] = [plan.name, _plain(plan.annotations)]
    for job in plan.jobs:
        source = scans_in(job.plan)[0].source
        found += [
            job.name, explain(job), explain_json(job), identity_of(job.plan, defaultdict(lambda: SourceFacts({}, {}))),
            job.depends_on, _plain(job.annotations),
            job.plan.spec.name, _plain(job.plan.spec.properties), source.name, _plain(source.properties),
        ]  # fmt: skip
    for open_job in plan.open_jobs:
        found += [open_job.name, _plain(open_job.sink.properties), _plain(open_job.source.properties)]
    return found


def _plain(properties: object) -> dict[str, object]:
    assert hasattr(properties, "items")
    return {key: prop.value for key, prop in properties.items()}


def checked(text: str) -> str:
    """The formatted text, formatted twice."""
    formatted = format_text(text, "app.sql")
    assert format_text(formatted, "app.sql") == formatted
    return formatted


def checked_or_refused(text: str) -> str | SqlError:
    try:
        return checked(text)
    except SqlError as error:
        return error


@pytest.mark.parametrize(("prelude", "sql"), PARSED, ids=range(len(PARSED)))
def test_corpus_is_formatted_once_and_for_all(prelude: str, sql: str) -> None:
    formatted = checked_or_refused(prelude + sql)
    if isinstance(formatted, SqlError):
        assert formatted.code in ("E1102", "E1208")  # A wrong window: no canonical spelling makes it right.
        return
    assert print_script(parse_statements(formatted, "app.sql")) == print_script(
        parse_statements(prelude + sql, "app.sql")
    )


@pytest.mark.parametrize(("prelude", "sql"), PLANNED, ids=range(len(PLANNED)))
def test_formatted_text_has_the_same_plan(prelude: str, sql: str) -> None:
    assert meaning(bound(checked(prelude + sql))) == meaning(bound(prelude + sql))


def pages() -> list[tuple[str, str]]:
    """Each SQL text of the examples and of the pages, with its place; that of a page's cases too."""
    found = [(str(path.relative_to(ROOT)), path.read_text("utf-8")) for path in sorted(ROOT.glob("examples/*/*.sql"))]
    for page in (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))):
        for at, (language, text) in enumerate(BLOCK.findall(page.read_text("utf-8"))):
            texts = [text_of(case) for case in parse(page, text)] if language == "test" else [text]
            found += [(f"{page.name}:{at}", each) for each in texts]
    return found


BLOCK = re.compile(r"^```(sql|test)\b[^\n]*\n(.*?)^```$", re.M | re.S)
RUN = [(f"{path.stem}:{case.line}", text_of(case)) for path in sorted(CORPUS.glob("run/*.test")) for case in read(path)]
ERRORS = [(f"errors:{at}", prelude + sql) for at, (prelude, sql) in enumerate(cases("errors"))]
#: By place, each text once.
WHOLE = {place: text for text, place in {text: place for place, text in (*RUN, *ERRORS, *pages())}.items()}


@pytest.mark.parametrize("text", one_of(6, WHOLE.items()))
def test_formatted_text_is_planned_or_refused_as_before(text: str) -> None:
    try:
        formatted = format_text(text, "app.sql")
    except SqlError as error:
        refused = error
    else:
        assert said(outcome(formatted)) == said(outcome(text))
        return
    assert said(outcome(text)) == said(refused)


def outcome(text: str) -> list[object] | SqlError:
    """All that the plan says, or why there is none."""
    try:
        return meaning(bound(text))
    except SqlError as error:
        return error


def said(found: list[object] | SqlError) -> object:
    return (found.code, found.message, found.hint) if isinstance(found, SqlError) else found


def test_corpus_has_queries_of_the_examples_and_the_pages() -> None:
    places = {place.partition(":")[0] for place, text in pages() if not isinstance(outcome(text), SqlError)}
    assert {"README.md", "sql.md", "files.md", "kafka.md", "testing.md", "examples/trades/trades.sql"} <= places


SNIPPETS = (
    "-- one\n",
    "/* two */",
    "/* three\n   lines */",
    "\n-- alone\n",
    "\n\n/* apart */\n\n",
    "-- a /* b\n",
    "\n",
    " ",
)


@st.composite
def commented(draw: st.DrawFn) -> str:
    """One or two statements of the corpus with comments between any of their tokens."""
    chosen = [draw(st.sampled_from(PARSED)) for _ in range(draw(st.integers(1, 2)))]
    text = (
        ";\n".join(sql.rstrip(";\n ") for _, sql in chosen if "-- @" not in sql and "--@" not in sql)
        or "SELECT a FROM t"
    )
    source = SourceText.from_text("app.sql", text)
    stops = [0, *(token.end + 1 for token in tokenize(source)), len(text)]
    inside = [(c.span.start, c.span.stop) for c in comments(source)]
    for stop in sorted(draw(st.lists(st.sampled_from(stops), max_size=6)), reverse=True):
        if not any(start <= stop < end for start, end in inside):
            text = text[:stop] + " " + draw(st.sampled_from(SNIPPETS)) + text[stop:]
    return text


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(commented())
def test_comments_between_any_tokens_stay(text: str) -> None:
    try:
        before = print_script(parse_statements(text, "app.sql"))
    except SqlError:
        return
    formatted = checked_or_refused(text)
    if isinstance(formatted, SqlError):
        return
    assert print_script(parse_statements(formatted, "app.sql")) == before
    for word in ("one", "two", "three", "alone", "apart"):
        assert len(re.findall(rf"(?:--|/\*) {word}\b", formatted)) == len(re.findall(rf"(?:--|/\*) {word}\b", text))


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_generated_query_keeps_its_plan(shape: Shape, data: st.DataObject) -> None:
    case = draw_combination(HypothesisDraw(data), shape).case()
    text = f"CREATE STREAM {case.streams[0].declaration} WITH (connector = 'file', path = 's.jsonl');\n{case.query}"
    assert meaning(bound(checked(text))) == meaning(bound(text))


AMOUNTS = ("5", "1.5", "48", "-3", "0.25", "(n)", "(n * 2)", "n", "-7")
UNITS = (
    "ms",
    "MILLISECONDS",
    "s",
    "secs",
    "MINUTE",
    "mins",
    "m",
    "HOURS",
    "hr",
    "DAY",
    "d",
    "weeks",
    "MONTH",
    "quarters",
    "y",
)
PHRASES = (
    "INTERVAL '{amount}' {unit}", "INTERVAL '{amount} {unit}'", "INTERVAL {amount} {unit}",
    "'{amount} {unit}'::INTERVAL",
    "INTERVAL '1 day {amount} {unit}'", "INTERVAL '{amount} {unit} ago'", "INTERVAL '{amount}{unit} 01:30'",
)  # fmt: skip
#: Operators around one operand: a formatter that loses or makes parentheses shows in them.
AROUND = (
    "{}", "NOT {}", "-{}", "({})", "{} = '5'", "'x' || {}", "{} IN ('1', '2')", "{} IS NULL", "{} BETWEEN '1' AND '2'",
    "{}::TEXT", "({})::TEXT LIKE 'a%'", "{} -> 'a'", "{} ->> 'b.c'", "{} ->> '$.d'", "{} + INTERVAL '90' MINUTES",
    "CASE WHEN {} = 'a' THEN 1 END", "{} AND f", "f OR {}", "coalesce({}, NULL)", "{} * 2", "2 - {}", "{}[1]",
)  # fmt: skip
OPERANDS = ("j", "n", "ts", "f", "j -> 'a'", "j -> 'a' -> 'b'", "interval", "n - 1", "'$n {} %s'", "l")
TYPED = (
    "CREATE STREAM s (n INT, f BOOLEAN, j JSON, l INT[], interval INT, ts TIMESTAMP, WATERMARK FOR ts AS ts - {delay})"
    " WITH (connector = 'file', path = 's.jsonl');\n"
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(PHRASES), st.sampled_from(AMOUNTS), st.sampled_from(UNITS))
def test_interval_keeps_its_meaning(phrase: str, amount: str, unit: str) -> None:
    interval = phrase.format(amount=amount, unit=unit)
    select = TYPED.format(delay="INTERVAL '1' SECOND") + f"SELECT ts + {interval} AS a, {interval} AS b FROM s"
    window = TYPED.format(delay=interval) + f"SELECT window_end FROM s GROUP BY TUMBLE(ts, {interval}) EMIT FINAL"
    for text in (select, window, window.replace(f"- {interval}", "- INTERVAL '1' SECOND")):
        keeps_its_plan(text)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(OPERANDS), st.lists(st.sampled_from(AROUND), min_size=1, max_size=4))
def test_operators_keep_their_operands(operand: str, around: list[str]) -> None:
    for phrase in around:
        operand = phrase.replace("{}", operand)
    keeps_its_plan(TYPED.format(delay="INTERVAL '1' SECOND") + f"SELECT {operand} AS a FROM s")


def keeps_its_plan(text: str) -> None:
    """Whether formatting leaves the plan; a text that is refused may be so before and after."""
    try:
        plan = meaning(bound(text))
    except SqlError:
        return
    assert meaning(bound(checked(text))) == plan


@pytest.mark.parametrize(
    ("written", "formatted"),
    [
        ("select a from t", "SELECT\n  a\nFROM t;\n"),
        ("-- one\nselect a -- two\nfrom t; -- three\n", "-- one\nSELECT\n  a -- two\nFROM t; -- three\n"),
        ("-- head\n\n\n-- about\nselect a from t", "-- head\n\n-- about\nSELECT\n  a\nFROM t;\n"),
        ("-- head\n\nselect a from t", "-- head\n\nSELECT\n  a\nFROM t;\n"),
        ("select a from t\n-- end\n", "SELECT\n  a\nFROM t;\n\n-- end\n"),
        ("select a, -- one\n  b from t", "SELECT\n  a, -- one\n  b\nFROM t;\n"),
        ("select 'x\ny' /* c */, b from t", "SELECT\n  'x\ny', /* c */\n  b\nFROM t;\n"),
        ("select 'x\n-- no comment' from t", "SELECT\n  'x\n-- no comment'\nFROM t;\n"),
        ("--@name: j\nselect a from t", "-- @name: j\nSELECT\n  a\nFROM t;\n"),
        (";; select a from t;; -- x\nselect b from t", "SELECT\n  a\nFROM t; -- x\n\nSELECT\n  b\nFROM t;\n"),
        ("select a -- x\r\nfrom t\r\n", "SELECT\n  a -- x\nFROM t;\n"),
        ("select a /* x\r\ny */ from t", "SELECT\n  a /* x\ny */\nFROM t;\n"),
    ],
)
def test_comment_stands_where_its_neighbour_stands(written: str, formatted: str) -> None:
    assert checked(written) == formatted


@pytest.mark.parametrize("text", ["", "select 'a", "/* open", "drop table t", "select a from t where"])
def test_text_that_does_not_parse_is_not_formatted(text: str) -> None:
    with pytest.raises(SqlError):
        format_text(text, "app.sql")


def test_comment_inside_a_key_is_no_part_of_it() -> None:
    formatted = checked("CREATE STREAM t (a INT) WITH (kafka -- one\n.linger.ms = 5, fetch-size = 1)")
    assert formatted.count("-- one") == 1
    assert "'kafka.linger.ms' = 5" in formatted
    assert "'fetch-size' = 1" in formatted
