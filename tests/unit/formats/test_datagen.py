from __future__ import annotations

from datetime import datetime

import pytest

from ferrisstreams.batch import Fetch, RowRange
from ferrisstreams.errors import ConfigError
from ferrisstreams.formats.settings import DecodeSettings
from tests.unit.formats.conftest import Bench, schema


def rows(bench: Bench, start: int, stop: int, seed: int = 0, **columns: tuple[str, str]) -> list[dict[str, object]]:
    """Rows of columns given as type and specification."""
    fields = {name: spec for name, (_, spec) in columns.items() if spec}
    kinds = schema(**{name: kind for name, (kind, _) in columns.items()})
    reader = bench.decoder(kinds, DecodeSettings("datagen", fields=fields, seed=seed))
    good, rejected = bench.decode(reader, Fetch("p", RowRange(start, stop), "datagen", start, stop))
    assert not rejected
    return good


COLUMNS = {
    "id": ("BIGINT", "sequence:100"),
    "n": ("INTEGER", "uniform:-3..3"),
    "x": ("DOUBLE", "uniform:0..1"),
    "g": ("DOUBLE", "normal:5,2"),
    "s": ("VARCHAR", "choice:A,B,C"),
    "d": ("DECIMAL(5,2)", ""),
    "t": ("TIMESTAMP", "time:2024-01-01T00:00:00+01:00+10ms"),
    "b": ("BOOLEAN", ""),
    "u": ("TINYINT", ""),
}


def test_value_depends_on_seed_and_row_alone(bench: Bench) -> None:
    whole = rows(bench, 0, 50, **COLUMNS)
    assert rows(bench, 0, 20, **COLUMNS) + rows(bench, 20, 50, **COLUMNS) == whole
    other = rows(bench, 0, 50, seed=1, **COLUMNS)
    assert [row["x"] for row in other] != [row["x"] for row in whole]
    assert [row["id"] for row in other] == list(range(100, 150))
    assert whole[3]["t"] == datetime(2023, 12, 31, 23, 0, 0, 30_000)


def test_values_are_spread_as_specified(bench: Bench) -> None:
    made = rows(bench, 0, 20_000, **COLUMNS)
    assert {row["n"] for row in made} == set(range(-3, 4))
    assert {row["s"] for row in made} == {"A", "B", "C"}
    assert {row["b"] for row in made} == {True, False}
    floats = [[float(str(row[name])) for row in made] for name in ("x", "g")]
    means = [sum(values) / len(values) for values in floats]
    assert means == [pytest.approx(0.5, abs=0.02), pytest.approx(5, abs=0.1)]
    deviation = (sum((value - 5) ** 2 for value in floats[1]) / 20_000) ** 0.5
    assert deviation == pytest.approx(2, abs=0.1)
    assert min(floats[0]) >= 0
    assert max(floats[0]) < 1


def test_distributions_are_what_they_are_called(bench: Bench) -> None:
    made = rows(
        bench,
        0,
        20_000,
        wait=("DOUBLE", "exponential:10"),
        rank=("INTEGER", "zipf:1,100"),
        steep=("INTEGER", "zipf:2,1000"),
        coin=("VARCHAR", "choice:A*3,B"),
        user=("VARCHAR", "template:u-{sequence:7}-{choice:x,y}-{uniform:1..2}"),
        key=("UUID", ""),
        same=("VARCHAR", "constant:x,y"),
    )
    waits = [float(str(row["wait"])) for row in made]
    assert sum(waits) / len(waits) == pytest.approx(10, rel=0.05)
    assert sum(wait > 10 for wait in waits) / len(waits) == pytest.approx(0.368, abs=0.02)
    ranks = [int(str(row["rank"])) for row in made]
    assert (min(ranks), max(ranks)) == (1, 100)
    assert ranks.count(1) / ranks.count(10) == pytest.approx(7, rel=0.3)
    steep = [int(str(row["steep"])) for row in made]
    assert 1 <= min(steep) < max(steep) <= 1000
    assert steep.count(1) > 10 * steep.count(5)
    assert [row["coin"] for row in made].count("A") / 20_000 == pytest.approx(0.75, abs=0.02)
    assert {str(row["user"]).split("-")[0] for row in made} == {"u"}
    assert [str(row["user"]).split("-")[1] for row in made[:3]] == ["7", "8", "9"]
    assert {tuple(str(row["user"]).split("-")[2:]) for row in made} == {(a, b) for a in "xy" for b in "12"}
    assert len({row["key"] for row in made}) == 20_000
    assert {row["same"] for row in made} == {"x,y"}


@pytest.mark.parametrize(
    ("kind", "spec", "code"),
    [
        ("BIGINT", "counting:1", "E3002"),
        ("BIGINT", "uniform:5..1", "E3002"),
        ("BIGINT", "uniform:a..b", "E3002"),
        ("DOUBLE", "uniform:0..inf", "E3002"),
        ("DOUBLE", "normal:1", "E3002"),
        ("TIMESTAMP", "time:yesterday+1s", "E3002"),
        ("TIMESTAMP", "time:2024-01-01+1y", "E3002"),
        ("TIMESTAMP", "now:1", "E3002"),
        ("BIGINT", "choice:A,B", "E3002"),
        ("VARCHAR", "choice:A*0", "E3002"),
        ("VARCHAR", "choice:A*99999", "E3002"),
        ("DOUBLE", "exponential:0", "E3002"),
        ("BIGINT", "zipf:1", "E3002"),
        ("BIGINT", "zipf:0,5", "E3002"),
        ("VARCHAR", "template:no parts", "E3002"),
        ("VARCHAR", "template:{nothing:1}", "E3002"),
        ("VARCHAR", "template:{sequence:1}-{", "E3002"),
        ("BIGINT", "constant:x", "E3002"),
        ("INTEGER[]", "", "E3004"),
    ],
)
def test_specification_that_is_none_is_refused(bench: Bench, kind: str, spec: str, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rows(bench, 0, 1, a=(kind, spec))
    assert caught.value.code == code
    assert caught.value.hint


def test_field_of_no_column_is_refused(bench: Bench) -> None:
    with pytest.raises(ConfigError, match=r"fields\.b: there is no column b"):
        bench.decoder(schema(a="BIGINT"), DecodeSettings("datagen", fields={"b": "now"}))


def test_value_that_outgrows_its_type_is_rejected(bench: Bench) -> None:
    reader = bench.decoder(schema(a="TINYINT"), DecodeSettings("datagen", fields={"a": "sequence:0"}))
    good, rejected = bench.decode(reader, Fetch("p", RowRange(126, 130), "datagen", 126, 130))
    assert [row["a"] for row in good] == [126, 127]
    assert [(bad.code, bad.position, bad.value) for bad in rejected] == [
        ("E2104", "datagen row 128", b'{"a":128}'),
        ("E2104", "datagen row 129", b'{"a":129}'),
    ]
