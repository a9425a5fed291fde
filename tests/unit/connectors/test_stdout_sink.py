from __future__ import annotations

import io
import os

import pytest

from ferrisstreams.batch import Payload
from ferrisstreams.connectors.stdout_sink import StdoutSink
from ferrisstreams.errors import FatalConnectorError


def test_header_and_rows_reach_the_stream() -> None:
    stream = io.BytesIO()
    sink = StdoutSink(stream, header=b"a,b\n")
    sink.open(None)
    sink.write(Payload(b"1,2\n", 1))
    assert sink.flush() is None
    sink.rollback(None)
    sink.close()
    assert stream.getvalue() == b"a,b\n1,2\n"


def test_reader_that_went_away_is_an_error_without_a_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with (
        os.fdopen(writing, "wb", buffering=0) as stream,
        pytest.raises(FatalConnectorError, match="closed by its reader"),
    ):
        StdoutSink(stream).write(Payload(b"x\n", 1))
