"""Functions under the names that they have elsewhere."""

from __future__ import annotations

import pytest

from ferrisstreams.errors import SqlError
from ferrisstreams.plan.explain import explain
from ferrisstreams.schema import Column, Schema
from ferrisstreams.session.query import query
from ferrisstreams.sql.application import parse_application
from ferrisstreams.sql.function_aliases import FUNCTION_ALIASES
from ferrisstreams.sql.functions import BY_OFFSET

TABLE = Schema((Column("a", "BIGINT"), Column("b", "VARCHAR"), Column("ts", "TIMESTAMP")))

SAME = (
    ("COLLECT_LIST(a)", "list(a)"),
    ("COLLECT_SET(b)", "list(DISTINCT b)"),
    ("COUNT_DISTINCT(b)", "count(DISTINCT b)"),
    ("DELTA(a) * 2", "(max(a) - min(a)) * 2"),
    ("extractjsonfield(b, '$.x')", "json_extract_string(b, '$.x')"),
    ("FIRST_VALUE(a + 1)", "first((a + 1))"),
    ("FROM_UNIXTIME(a)", "make_timestamp(CAST(a * 1000000 AS BIGINT))"),
    ("LAST_VALUE(b)", "last(b)"),
    ("REGEXP(b, '^x')", "regexp_matches(b, '^x')"),
    ("SPLIT_INDEX(b, ',', 0)", "split_part(b, ',', 0 + 1)"),
    ("TOPK(a, 3)", "max(a, 3)"),
    ("UNIX_TIMESTAMP(ts)", "CAST(epoch(ts) AS BIGINT)"),
    (
        "COLLECT_LIST(SPLIT_INDEX(b, ',', 1)) FILTER (WHERE a > 1)",
        "list((split_part(b, ',', 1 + 1))) FILTER (WHERE a > 1)",
    ),
)


def plan(item: str) -> str:
    return explain(parse_application(f"SELECT {item} AS x FROM t", "app.sql", tables={"t": TABLE}).jobs[0])


@pytest.mark.parametrize(("alias", "ours"), SAME)
def test_alias_is_the_same_plan(alias: str, ours: str) -> None:
    assert plan(alias) == plan(ours)


def test_every_alias_is_tested() -> None:
    own = set(BY_OFFSET)  # The engine has no such aggregate: their cases are in `ordered.test`.
    assert {alias.partition("(")[0].lower() for alias, _ in SAME} == set(FUNCTION_ALIASES) - own


@pytest.mark.parametrize("alias", sorted(FUNCTION_ALIASES))
def test_wrong_number_of_arguments_is_said_at_the_call(alias: str) -> None:
    with pytest.raises(SqlError, match=f"{alias} takes") as caught:
        plan(f"1 + {alias}(a, a, a, a)")
    assert caught.value.position is not None
    assert caught.value.position.column == 12
    assert caught.value.hint is not None


def test_alias_counts_as_an_aggregate_in_group_by_all_and_views() -> None:
    text = "CREATE VIEW v AS SELECT b, COUNT_DISTINCT(a) AS n FROM t GROUP BY ALL; SELECT b, n FROM v EMIT FINAL"
    assert "COUNT(DISTINCT" in explain(parse_application(text, "app.sql", tables={"t": TABLE}).jobs[0])


def test_error_inside_an_alias_stands_where_it_is_written() -> None:
    with pytest.raises(SqlError, match="there is no column c") as caught:
        plan("UNIX_TIMESTAMP(c)")
    assert caught.value.position is not None
    assert caught.value.position.column == 23


def test_alias_gives_values() -> None:
    rows = [{"a": 5, "b": "x,y"}, {"a": 9, "b": "z"}, {"a": None, "b": None}]
    items = "DELTA(a) AS d, COUNT_DISTINCT(b) AS n, LATEST_BY_OFFSET(a) AS l, COLLECT_LIST(SPLIT_INDEX(b, ',', 0)) AS s"
    *_, result = query(f"SELECT {items} FROM t", t=rows)
    assert result.to_pylist()[-1] == {"d": 4, "n": 2, "l": 9, "s": ["x", "z", None]}
