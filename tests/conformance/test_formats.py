"""What every format promises: it reads what it wrote, and says of each record the same in whatever company."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from decimal import Decimal

import pyarrow as pa
import pytest
from confluent_kafka import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlglot import exp

from ferrisstreams.batch import Fetch
from ferrisstreams.connectors.framing import CsvFraming, LineFraming
from ferrisstreams.connectors.kafka.messages import KafkaMessages, chunk_of
from ferrisstreams.duck.engine import DataError
from ferrisstreams.formats.base import ROW, Decoder
from ferrisstreams.formats.registry import decoder, encoder
from ferrisstreams.formats.settings import DecodeSettings, EncodeSettings, FormatName
from ferrisstreams.schema import Column, Schema
from tests.conformance.conftest import Bench

slow_enough = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

_MOMENTS = st.datetimes(datetime.datetime(1, 1, 2), datetime.datetime(9999, 12, 30))
_TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)


def _decimals(digits: int, scale: int) -> st.SearchStrategy[object]:
    limit = 10**digits - 1
    return st.integers(-limit, limit).map(lambda n: Decimal(f"{n}e-{scale}"))


VALUES: dict[str, st.SearchStrategy[object]] = {
    "BOOLEAN": st.booleans(),
    "TINYINT": st.integers(-(2**7), 2**7 - 1),
    "BIGINT": st.integers(-(2**63), 2**63 - 1),
    "UBIGINT": st.integers(0, 2**64 - 1),
    "DOUBLE": st.floats(allow_nan=False, allow_infinity=False),
    "FLOAT": st.floats(allow_nan=False, allow_infinity=False, width=32),
    "DECIMAL(15,4)": _decimals(15, 4),
    "DECIMAL(18,2)": _decimals(18, 2),
    "DECIMAL(38,20)": _decimals(38, 20),
    "DECIMAL(38,0)": _decimals(38, 0),
    "VARCHAR": _TEXTS,
    "BLOB": st.binary(max_size=12),
    "DATE": st.dates(),
    "TIME": st.times(),
    "TIMESTAMP": _MOMENTS,
    "TIMESTAMP WITH TIME ZONE": _MOMENTS.map(lambda moment: moment.replace(tzinfo=datetime.UTC)),
    "UUID": st.uuids().map(str),
    "ENUM('a', 'b c', '\"')": st.sampled_from(["a", "b c", '"']),
}
NESTED: dict[str, st.SearchStrategy[object]] = {
    "BIGINT[]": st.lists(st.none() | VALUES["BIGINT"], max_size=3),
    "TIMESTAMP[]": st.lists(st.none() | _MOMENTS, max_size=3),
    'STRUCT("a b" DOUBLE, t TIMESTAMP[], "select" BLOB)': st.fixed_dictionaries(
        {
            "a b": st.none() | VALUES["DOUBLE"],
            "t": st.none() | st.lists(_MOMENTS, max_size=2),
            "select": st.none() | VALUES["BLOB"],
        }
    ),
    "MAP(VARCHAR, VARCHAR)": st.dictionaries(_TEXTS, st.none() | _TEXTS, max_size=3).map(lambda d: list(d.items())),
    "STRUCT(x DECIMAL(10,2)[])[]": st.lists(
        st.fixed_dictionaries({"x": st.lists(_decimals(10, 2), max_size=2)}), max_size=2
    ),
}


@st.composite
def typed_rows(draw: st.DrawFn, nested: bool) -> tuple[Schema, list[list[object]]]:
    kinds = VALUES | NESTED if nested else VALUES
    types = draw(st.lists(st.sampled_from(sorted(kinds)), min_size=1, max_size=5))
    schema = Schema(tuple(Column(f"c {place}", kind) for place, kind in enumerate(types)))
    row = st.tuples(*(st.none() | kinds[kind] for kind in types)).map(list)
    return schema, draw(st.lists(row, max_size=6))


def _fetch(bench: Bench, data: bytes, header: bytes | None = None) -> Fetch:
    bench.block.write(data)
    return Fetch("p", bench.block, "file", 0, 0, caught_up=True, header=header)


def _columns(schema: Schema, rows: list[list[object]], bench: Bench) -> pa.Table:
    """The rows in a table of the engine, `given`, with the declared types."""
    names = [exp.to_identifier(name, quoted=True).sql("duckdb") for name in schema.names]
    declared = ", ".join(f"{name} {c.type}" for name, c in zip(names, schema, strict=True))
    bench.engine.work.execute(f"CREATE OR REPLACE TEMP TABLE given ({ROW} BIGINT, {declared})")
    empty = bench.engine.work.table("FROM given")
    fields = [empty.schema.field(place + 1) for place in range(len(names))]
    arrays = [
        pa.array([row[place] for row in rows], field.type if not pa.types.is_dictionary(field.type) else pa.string())
        for place, field in enumerate(fields)
    ]
    table = pa.table([pa.array(range(len(rows)), pa.int64()), *arrays], names=[ROW, *schema.names])
    bench.engine.work.register("_values", table)
    bench.engine.work.execute("INSERT INTO given FROM _values")
    bench.engine.work.unregister("_values")
    return bench.engine.work.table("FROM given")


def _plain_or_diagnosed(bench: Bench, reader: Decoder, fetch: Fetch) -> pa.Table:
    """What a job sees: the plain scan, or when it raises the diagnosis, which must not reject anything here."""
    try:
        return bench.engine.work.table(reader.scan(fetch))
    except DataError:
        diagnosis = reader.diagnose(fetch)
        assert diagnosis.rejected == []
        return bench.engine.work.table(exp.select("*").from_(diagnosis.relation))


@pytest.mark.parametrize("name", ["json", "csv"])
@slow_enough
@given(data=st.data())
def test_format_reads_what_it_wrote(bench: Bench, name: FormatName, data: st.DataObject) -> None:
    schema, rows = data.draw(typed_rows(nested=name == "json"))
    expected = _columns(schema, rows, bench)
    null = data.draw(st.sampled_from(["", "\\N"])) if len(schema) > 1 else "\\N"  # NULL alone reads as empty text does
    writer = encoder(EncodeSettings(name, null=null))
    lines = bench.engine.work.rows(exp.select(writer.line(schema)).from_("given").order_by(ROW))
    assert all(line is not None for (line,) in lines)
    fetch = _fetch(bench, "".join(f"{line}\n" for (line,) in lines).encode(), writer.header(schema).strip() or None)
    reader = decoder(bench.engine, schema, DecodeSettings(name, nulls=(null,)))
    assert _plain_or_diagnosed(bench, reader, fetch).equals(expected)
    diagnosis = reader.diagnose(fetch)
    assert diagnosis.rejected == []
    assert bench.engine.work.table(exp.select("*").from_(diagnosis.relation)).equals(expected)


SCHEMA = Schema(
    (
        Column("id", "BIGINT", nullable=False),
        Column("ts", "TIMESTAMP"),
        Column("price", "DECIMAL(18,2)"),
        Column("f", "DOUBLE"),
        Column("b", "BLOB"),
    )
)

JSON_LINES = [
    b'{"id":1,"ts":"2024-01-01T00:00:00+02:00","price":1.10,"f":2}',
    b'{"id":"7","ts":"2024-01-01","price":"1.1","b":"eA=="}',
    b'{"id":1,"ts":"2024-01-01","price":12345678901234.56}',
    b'{"id":1,"ts":"2024-01-01","price":99999999999999999.5}',
    b'{"id":1.5,"ts":"2024-01-01","unknown":[{"x":null}],}',
    b'{"id":true,"ts":"2024-01-01 00:00:00.123456789"}',
    b'{"id":1,"ts":1704067200}',
    b'{"id":1,"ts":null}',
    b'{"ts":"2024-01-01"}',
    b'{"id":1,"ts":"2024-01-01","id":1}',
    b'{"id":1,"ts":"2024-01-01","f":NaN}',
    b'{"id":1,"ts":"2024-01-01","f":1e999}',
    b'{"id":1,"ts":"2024-01-01","f":"Infinity"}',
    b'{"id":1,"ts":"infinity"}',
    b'{"id":1,"ts":"2024-13-01"}',
    b'{"id":1,"ts":"2024-01-01","b":"not base64"}',
    b'{"id":99999999999999999999,"ts":"2024-01-01"}',
    b'{"id":{},"ts":"2024-01-01"}',
    b'{"id":1,"ts":"2024-01-01","x":"\\ud800"}',
    b'{"id":1,"ts":"2024-01-01"',
    b'{"id":1,"ts":"2024-01-01"} {"id":2}',
    b'{"id":1,"ts":"2024-01-01","x":"\xff"}',
    b'\xef\xbb\xbf{"id":1,"ts":"2024-01-01"}',
    b'{"id":1,"ts":"2024-01-01"}\r',
    b"\x00",
    b"null",
    b" null ",
    b"{}",
    b"[1]",
    b"7",
    b'"text"',
    b"",
    b" \t\r",
    b'{"id":' + b"[" * 300,
    b'{"id":2,"ts":"2024-01-01","x":' + b"[" * 300 + b"]" * 300 + b"}",
]
CSV_LINES = [
    b"1,2024-01-01T00:00:00+02:00,1.10,2,",
    b'"7",2024-01-01,"1.1",,"eA=="',
    b"1,2024-01-01,1234567890123456.78,1e3,",
    b"x,2024-01-01,,,",
    b",2024-01-01,,,",
    b"1,,,,",
    b"1,1704067200,,,",
    b"1,2024-01-01,,nan,",
    b"1,2024-01-01,,,not base64",
    b"1,2024-01-01,99999999999999999,,",
    b"1,2024-01-01,,",
    b"1,2024-01-01,,,,",
    b"1,2024-01-01,,,,,,",
    b'1,2024-01-01,,,,""',
    b"1,2024-01-01,,,,,7",
    b"1.0,2024-01-01,1.005,,",
    b"1.5,2024-01-01,,,",
    b"2e3,2024-01-01,1005e-3,,",
    b"true,2024-01-01,,,",
    b'1,2024-01-01,,"2\n",',
    b"1,2024-01-01,,,\r\r",
    b'1,"2024-01-01" "x,,,',
    b'1,2024-01-01,,,"a"b',
    b"1,2024-01-01,,,\xff",
    b'1,"2024-01-01\n",,,',
    b"1,2024-01-01,,,\r",
    b"\xef\xbb\xbf1,2024-01-01,,,",
    b"1\r2,2024-01-01,,,",
    b"",
    b"   ",
    b'5" pipe,2024-01-01,,,',
    b"\x00,,,,",
]

Outcome = tuple[str, object]


def _outcomes(bench: Bench, reader: Decoder, data: bytes) -> list[Outcome]:
    """For each row of the bytes whether it is good, with its values, or why not, and its place."""
    fetch = _fetch(bench, data)
    try:
        good = bench.engine.work.table(reader.scan(fetch)).to_pylist()
        rejected = []
    except DataError:
        diagnosis = reader.diagnose(fetch)
        good = bench.engine.work.table(exp.select("*").from_(diagnosis.relation)).to_pylist()
        rejected = list(diagnosis.rejected)
    rows: dict[int, Outcome] = {row.pop(ROW): ("good", tuple(row.values())) for row in good}
    for bad in rejected:
        rows[bad.row] = (bad.code, (bad.message, bad.value))
        (raw,) = reader.raw(fetch, [bad.row])
        assert (raw.value, raw.offset, raw.position) == (bad.value, bad.offset, bad.position)
    assert sorted(rows) == list(range(len(rows)))
    for raw in reader.raw(fetch, sorted(rows)):
        assert data[raw.offset :].startswith(raw.value)
    return [rows[row] for row in range(len(rows))]


@dataclass(frozen=True)
class Corpus:
    reader: Decoder
    alone: dict[bytes, list[Outcome]]


@pytest.fixture(scope="module", params=["json", "csv"])
def corpus(request: pytest.FixtureRequest, bench: Bench) -> Corpus:
    name = request.param
    reader = decoder(bench.engine, SCHEMA, DecodeSettings(name, event_time="ts", header=False))
    lines = JSON_LINES if name == "json" else CSV_LINES
    return Corpus(reader, {line: _outcomes(bench, reader, line + b"\n") for line in lines})


@settings(slow_enough, max_examples=40)
@given(data=st.data())
def test_outcome_of_a_record_depends_on_it_alone(bench: Bench, corpus: Corpus, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(sorted(corpus.alone)), max_size=12))
    alone = [outcome for line in chosen for outcome in corpus.alone[line]]
    assert _outcomes(bench, corpus.reader, b"".join(line + b"\n" for line in chosen)) == alone


def test_diagnosis_calls_good_what_the_scan_calls_good(bench: Bench, corpus: Corpus) -> None:
    reader = corpus.reader
    for line in corpus.alone:
        fetch = _fetch(bench, line + b"\n")
        diagnosis = reader.diagnose(fetch)
        try:
            plain = bench.engine.work.table(reader.scan(fetch))
        except DataError:
            continue
        assert diagnosis.rejected == [], line
        assert bench.engine.work.table(exp.select("*").from_(diagnosis.relation)).equals(plain)


@settings(slow_enough, max_examples=40)
@given(text=st.binary(max_size=60) | st.text('{}[]":,0123456789.eE+-ntrufalsx\\ \n', max_size=60).map(str.encode))
@pytest.mark.parametrize("name", ["json", "csv"])
def test_junk_never_raises_anything_but_rejections(bench: Bench, name: FormatName, text: bytes) -> None:
    reader = decoder(bench.engine, SCHEMA, DecodeSettings(name, header=False))
    framing = LineFraming() if name == "json" else CsvFraming(",", '"')
    assert len(_outcomes(bench, reader, text)) == len(list(framing.spans(text)))


# --- messages ---------------------------------------------------------------------------------------------------------

#: Values of single messages: the lines, and what only a message can be.
JSON_VALUES: list[bytes] = [
    *JSON_LINES,
    b'{"id":1,\n "ts":"2024-01-01",\r\n "f":2}\n',
    b'{"id":1,"ts":"2024-01-01"}\n{"id":2,"ts":"2024-01-01"}',
    b'{"id":1,"ts":"2024-01-01","x":"a\nb"}',
    b"\n",
    b"{}\n{}",
    b'{"id":1,"ts":"2024-01-01","x":"' + b"x" * 2000 + b'"}',
]
CSV_VALUES: list[bytes] = [
    *CSV_LINES,
    b'1,"2024-01-01",,,\r\n',
    b'"1","2024-01-01",1.1,"2","eA=="',
    b"1,2024-01-01,,,\n2,2024-01-01,,,",
    b'"1',
    b'2024"',
    b"\n",
    b"1,2024-01-01,,," + b" " * 2000,
]


def _message_outcomes(bench: Bench, reader: Decoder, values: list[bytes]) -> list[Outcome]:
    made = [
        Message(topic="t", partition=0, offset=7 + 2 * row, key=b"k%d" % row, value=value, headers=[("h", b"\xff")])
        for row, value in enumerate(values)
    ]
    chunks = [chunk_of(made[start : start + 3], times=False) for start in range(0, len(made), 3)]
    messages = KafkaMessages("t-0", chunks, value_bytes_max=1000)
    bench.block.write(messages.joined or b"")
    fetch = Fetch("t-0", bench.block, "t-0", 7, 7 + 2 * len(values), caught_up=True, messages=messages)
    try:
        good = bench.engine.work.table(reader.scan(fetch)).to_pylist()
        rejected = []
    except DataError:
        diagnosis = reader.diagnose(fetch)
        good = bench.engine.work.table(exp.select("*").from_(diagnosis.relation)).to_pylist()
        rejected = list(diagnosis.rejected)
    rows: dict[int, Outcome] = {row.pop(ROW): ("good", tuple(row.values())) for row in good}
    for bad in rejected:
        assert (bad.value, bad.key, bad.offset) == (values[bad.row], b"k%d" % bad.row, 7 + 2 * bad.row)
        assert (bad.headers, bad.position) == ((("h", b"\xff"),), f"t-0 offset {bad.offset}")
        rows[bad.row] = (bad.code, (bad.message,))
    assert sorted(rows) == list(range(len(values)))
    return [rows[row] for row in range(len(values))]


@dataclass(frozen=True)
class MessageCorpus:
    reader: Decoder
    alone: dict[bytes, Outcome]


@pytest.fixture(scope="module", params=["json", "csv"])
def message_corpus(request: pytest.FixtureRequest, bench: Bench) -> MessageCorpus:
    name = request.param
    reader = decoder(bench.engine, SCHEMA, DecodeSettings(name, event_time="ts", header=False))
    values = JSON_VALUES if name == "json" else CSV_VALUES
    return MessageCorpus(reader, {value: _message_outcomes(bench, reader, [value])[0] for value in values})


@settings(slow_enough, max_examples=60)
@given(data=st.data())
def test_outcome_of_a_message_depends_on_it_alone(
    bench: Bench, message_corpus: MessageCorpus, data: st.DataObject
) -> None:
    values = sorted(message_corpus.alone)
    chosen = data.draw(st.lists(st.sampled_from(values), max_size=12))
    if chosen:
        expected = [message_corpus.alone[value] for value in chosen]
        assert _message_outcomes(bench, message_corpus.reader, chosen) == expected


def test_messages_have_the_outcome_that_they_deserve(bench: Bench) -> None:
    reader = decoder(bench.engine, SCHEMA, DecodeSettings("json"))
    values = JSON_VALUES[-6:]
    found = [outcome for outcome, _ in _message_outcomes(bench, reader, values)]
    assert found == ["good", "E2101", "E2101", "E2101", "E2101", "E2108"]
    csv = decoder(bench.engine, SCHEMA, DecodeSettings("csv", header=False))
    found = [outcome for outcome, _ in _message_outcomes(bench, csv, CSV_VALUES[-7:])]
    assert found == ["good", "good", "E2101", "E2101", "E2106", "E2106", "E2108"]


def test_line_of_a_file_and_message_have_the_same_outcome(bench: Bench, corpus: Corpus) -> None:
    for line, outcomes in corpus.alone.items():
        if len(outcomes) == 1 and b"\n" not in line and len(line) < 1000:
            (found,) = _message_outcomes(bench, corpus.reader, [line])
            assert found[0] == outcomes[0][0], line
