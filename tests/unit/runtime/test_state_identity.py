"""Which settings of a source are part of what a state means, beside the query."""

from __future__ import annotations

from pathlib import Path

import pytest

from ferrisstreams.plan.identity import identity_of
from ferrisstreams.plan.identity_differences import differences
from ferrisstreams.runtime.build import JobBuilder
from ferrisstreams.runtime.environment import Environment
from ferrisstreams.runtime.state_identity import source_facts
from ferrisstreams.sql.application import parse_application

CSV = "connector = 'file', path = 'in.csv', format = 'csv'"
TOPIC = "connector = 'kafka', 'bootstrap.servers' = 'h:1', topic = 'a'"
MADE = "connector = 'datagen', rows = 3, 'fields.a.min' = 1"
FOLDER = "connector = 'file', path = 'a/*.jsonl', format = 'json', watch = true"


def found(kept: str, now: str, query: str = "SELECT a, count(*) AS n FROM t GROUP BY a") -> list[str]:
    identities = []
    for properties in (kept, now):
        text = f"CREATE STREAM t (a INT) WITH ({properties}); {query} WITH (connector = 'stdout')"
        job = parse_application(text, "app.sql").jobs[0]
        facts = source_facts(JobBuilder(job, Environment("app", Path("/project"))))
        identities.append(identity_of(job.plan, facts))
    return [str(each) for change in differences(*identities, lambda *_: False) for each in change.differences]


@pytest.mark.parametrize(
    ("kept", "now", "difference"),
    [
        (TOPIC, TOPIC.replace("'a'", "'b'"), "the source's topic: was 'a', is 'b'"),
        (MADE, MADE.replace("= 1", "= 2"), 'the source\'s fields: was {"a.min": "1"}, is {"a.min": "2"}'),
        (MADE, MADE + ", seed = 7", "the source's seed: was 0, is 7"),
        (FOLDER, FOLDER.replace("a/", "b/"), "the source's path: was 'a/*.jsonl', is 'b/*.jsonl'"),
        (FOLDER, FOLDER.replace("true", "false"), "the source's watch: was true, is not given"),
        (CSV, CSV + ", delimiter = ';'", "'delimiter' of the source: was ',', is ';'"),
        (CSV, CSV + ", quote = ''''", "'quote' of the source: was '\"', is \"'\""),
        (CSV, CSV + ", nulls = 'NA'", "'nulls' of the source: was '', is 'NA'"),
        (CSV, CSV + ", header = false", "'header' of the source: was true, is false"),
        (CSV, CSV + ", encoding = 'latin-1'", "'encoding' of the source: was not given, is 'latin-1'"),
        (CSV, CSV + ", 'event.time.format' = '%d'", "'event.time.format' of the source: was not given, is '%d'"),
    ],
)
def test_other_data_and_other_reading_is_another_state(kept: str, now: str, difference: str) -> None:
    assert found(kept, now) == [difference]


@pytest.mark.parametrize(
    ("kept", "now"),
    [
        (TOPIC, TOPIC + ", 'group.id' = 'g', 'kafka.linger.ms' = 5"),
        (MADE, MADE.replace("rows = 3", "rows = 300, rate = 10")),
        (CSV, CSV + ", delimiter = ',', encoding = 'utf-8', header = true"),
        (CSV, CSV.replace("in.csv", "/project/./in.csv")),
        (CSV, CSV.replace("in.csv", "file:///project/in.csv") + ", watch = true"),
    ],
)
def test_other_spelling_and_settings_of_the_run_are_none(kept: str, now: str) -> None:
    assert found(kept, now) == []


def test_reading_of_rows_that_nothing_is_kept_of_is_free() -> None:
    assert found(CSV, CSV + ", delimiter = ';', nulls = 'NA'", "SELECT a FROM t") == []
