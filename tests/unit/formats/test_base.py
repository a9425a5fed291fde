"""Behind a batch with records that fail the judge is asked at once: no statement runs that is made to raise."""

from __future__ import annotations

import pytest

from ferrisstreams.duck.engine import DataError
from ferrisstreams.formats.settings import DecodeSettings, FormatName
from tests.unit.formats.conftest import Bench, schema

SOUND: dict[FormatName, bytes] = {"json": b'{"a":1}\n{"a":2}\n', "csv": b"1,x\n2,y\n"}
FAULTY: dict[FormatName, bytes] = {"json": b'{"a":1}\n{"a":"x"}\n', "csv": b'1,x\nx,y\n3,"z"z\n'}


@pytest.mark.parametrize("name", ["json", "csv"])
def test_scan_itself_raises_where_the_batch_before_had_records_that_fail(bench: Bench, name: FormatName) -> None:
    reader = bench.decoder(schema(a="BIGINT", b="VARCHAR"), DecodeSettings(name, header=False))
    first = reader.scan(bench.fetch(FAULTY[name]))
    with pytest.raises(DataError):
        bench.engine.work.table(first)
    rows = len(reader.diagnose(bench.fetch(FAULTY[name])).rejected)
    for _ in range(2):
        fetch = bench.fetch(FAULTY[name])
        with pytest.raises(DataError):
            reader.scan(fetch)
        assert len(reader.diagnose(fetch).rejected) == rows


@pytest.mark.parametrize("name", ["json", "csv"])
def test_plain_scan_comes_back_with_the_second_sound_batch(bench: Bench, name: FormatName) -> None:
    reader = bench.decoder(schema(a="BIGINT", b="VARCHAR"), DecodeSettings(name, header=False))
    plain = reader.scan(bench.fetch(SOUND[name]))
    reader.diagnose(bench.fetch(FAULTY[name]))
    judged = reader.scan(bench.fetch(SOUND[name]))
    assert judged is not plain
    assert bench.engine.work.table(judged)["a"].to_pylist() == [1, 2]
    again = reader.scan(bench.fetch(SOUND[name]))
    assert bench.engine.work.table(again)["a"].to_pylist() == [1, 2]
    assert again is reader.scan(bench.fetch(SOUND[name]))
