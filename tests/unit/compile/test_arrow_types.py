from __future__ import annotations

from collections.abc import Iterator

import pytest

from ferrisstreams.compile.arrow_types import carried_type
from ferrisstreams.duck.engine import Engine, EngineSettings

#: Types with values at their ends, as the engine writes them.
VALUES = {
    "BOOLEAN": ("true",),
    "TINYINT": ("-128", "127"),
    "UBIGINT": ("18446744073709551615",),
    "BIGINT": ("-9223372036854775808", "9223372036854775807"),
    "HUGEINT": ("-170141183460469231731687303715884105728", "170141183460469231731687303715884105727"),
    "UHUGEINT": ("340282366920938463463374607431768211455",),
    "FLOAT": ("0.1", "-0.0", "'nan'", "'inf'", "3.4e38"),
    "DOUBLE": ("0.1", "-0.0", "'nan'", "'-inf'", "5e-324"),
    "DECIMAL(38,10)": ("'9999999999999999999999999999.9999999999'",),
    "DECIMAL(4,1)": ("-999.9",),
    "VARCHAR": ("''", "'ä 🦀'", "'x\n'"),
    "BLOB": ("'\\x00\\xFF'",),
    "DATE": ("'-infinity'", "'0001-01-01'", "'9999-12-31'"),
    "TIMESTAMP": ("'infinity'", "'1969-12-31 23:59:59.999999'", "'290000-01-01'"),
    "TIMESTAMP WITH TIME ZONE": ("'2024-01-01 00:00:00.000001+02'",),
    "UUID": ("'ffffffff-ffff-ffff-ffff-ffffffffffff'",),
    "STRUCT(v BIGINT, p STRUCT(t BIGINT, p VARCHAR))": ("{v: NULL, p: {t: 1, p: 'x'}}", "{v: 1, p: NULL}"),
}


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(EngineSettings())
    yield engine
    engine.close()


@pytest.mark.parametrize("type_", VALUES)
def test_values_come_back_from_arrow_as_they_went(type_: str, engine: Engine) -> None:
    carried = carried_type(type_)
    assert carried is not None
    work = engine.work
    for value in ("NULL", *VALUES[type_]):
        work.show("held", work.arrow(f"SELECT CAST(CAST({value} AS {type_}) AS {carried}) AS x"))
        same = f"x IS NOT DISTINCT FROM CAST({value} AS {type_}) AND typeof(x) = '{type_}'"
        alike = f"CAST(x AS VARCHAR) IS NOT DISTINCT FROM CAST(CAST({value} AS {type_}) AS VARCHAR)"
        query = f"SELECT {same} AND {alike} AND hash(x) = hash(CAST({value} AS {type_}))"
        assert work.rows(f"{query} FROM (SELECT CAST(x AS {type_}) AS x FROM held)") == [(True,)]


@pytest.mark.parametrize("type_", ["INTERVAL", "TIME", "BIGINT[]", "MAP(VARCHAR, BIGINT)", "STRUCT(v HUGEINT)", "BIT"])
def test_other_types_are_not_carried(type_: str) -> None:
    assert carried_type(type_) is None
