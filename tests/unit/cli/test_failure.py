from __future__ import annotations

import re
from pathlib import Path

import pytest

from ferrisstreams.cli.failure import as_json, report
from ferrisstreams.errors import InternalError, Position, SqlError

PLACED = SqlError("no column 'a'", "E1101", "did you mean 'b'?", Position("app.sql", 2, 8, "SELECT a FROM t", 1))


def test_error_is_printed_with_place_caret_and_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(PLACED) == 1
    assert capsys.readouterr().err == (
        "app.sql:2:8: no column 'a' [E1101]\n  SELECT a FROM t\n         ^\nhint: did you mean 'b'?\n"
    )


def test_error_is_an_object_for_machines() -> None:
    assert as_json(PLACED) == {
        "code": "E1101",
        "message": "no column 'a'",
        "hint": "did you mean 'b'?",
        "path": "app.sql",
        "line": 2,
        "column": 8,
    }


@pytest.mark.parametrize("error", [ValueError("odd"), InternalError("odd")])
def test_bug_is_reported_with_a_file_instead_of_a_traceback(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FERRIS_DEBUG", raising=False)
    assert report(error) == 1
    printed = capsys.readouterr().err
    assert "odd [E9001]" in printed
    assert "Traceback" not in printed
    named = re.search(r"details: (\S+)", printed)
    assert named is not None
    details = Path(named[1])
    assert "odd" in details.read_text("utf-8")
    details.unlink()


def test_traceback_of_a_bug_is_shown_when_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FERRIS_DEBUG", "1")
    assert report(ValueError("odd")) == 1
    assert "ValueError: odd" in capsys.readouterr().err
