"""Errors show the line of SQL that they are about, and no secret in it."""

from __future__ import annotations

import pytest

from ferrisstreams.errors import FerrisError
from ferrisstreams.sql.application import parse_application
from ferrisstreams.sql.source_text import SourceText, Span


def refused(settings: str) -> str:
    """What is shown of an application with these settings."""
    text = f"CREATE STREAM s (a INT) WITH ('connector' = 'kafka', 'topic' = 't', {settings});\nSELECT a FROM s;\n"
    with pytest.raises(FerrisError) as error:
        parse_application(text, "app.sql")
    return str(error.value)


@pytest.mark.parametrize(
    "settings",
    [
        "'kafka.sasl.password' 'hunter2'",
        "'kafka.sasl.password' = 'hunter2",
        "'kafka.sasl.password' = 'hunter2' 'x' = 'y'",
        "'kafka.sasl.password' = hunter2",
        "'kafka.sasl.password' := 'hunter2'",
        "kafka.sasl.password = 'hunter2' 'x' = 'y'",
        "\"kafka.sasl.password\" = \"hunter2\" 'x' = 'y'",
        "'kafka.sasl.password' /* of 'u' */ = 'it''s hunter2' 'x'",
        "'kafka.sasl.passwrd' = 'hunter2' 'x'",
        "'kafka.ssl.key.pem' = '-----BEGIN\nhunter2\nEND' 'x'",
        "'s.api.key' = 'hunter2', 's.api.key' = 'hunter2'",
    ],
)
def test_value_of_a_secret_setting_is_not_shown(settings: str) -> None:
    shown = refused(settings)
    assert "hunter2" not in shown
    assert "********" in shown


def test_caret_stands_at_its_word_behind_a_mask() -> None:
    text = "STREAM s (a INT) WITH ('kafka.sasl.password' = 'x', 'kafka.sasl.username' 'u');"
    with pytest.raises(FerrisError) as error:
        parse_application(f"CREATE {text}", "app.sql")
    shown = str(error.value)
    line, caret = shown.splitlines()[1:3]
    assert "'kafka.sasl.password' = '********', 'kafka.sasl.username' 'u'" in line
    assert line[caret.index("^") : caret.rindex("^") + 1] == "'u'"
    column = len("CREATE ") + text.index("'u'") + 1
    assert shown.startswith(f"app.sql:1:{column}:"), "the column is that of the text as it is written"


def test_mask_tells_nothing_of_a_secret() -> None:
    """Neither its length nor, where it is short, by what is left of a message."""
    text = SourceText.from_text("app.sql", "'sasl.password' = 'a', x")
    error = text.error(Span(18, 21), "an 'a' and a bad day", "E1001")
    assert error.message == "an '********' and a bad day"
    assert error.position is not None
    assert error.position.text == "'sasl.password' = '********', x"


@pytest.mark.parametrize(
    "line", ["SELECT token FROM t WHERE k = 'open'", "ON a.token = b.token", "'kafka.ssl.key.location' = '/a/b'", "''"]
)
def test_what_holds_no_secret_is_shown(line: str) -> None:
    assert SourceText.from_text("app.sql", line).position(Span(0, 1)).text == line
