"""Errors show the line of SQL that they are about, and no secret in it."""

from __future__ import annotations

import pytest

from ferrisstreams.config.secrets import secret_spans, skip_blanks
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


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("--password = 'hunter2'", "--password = '********'"),
        ("'s.password'--of u\n= 'hunter2'", "'s.password'--of u"),
        ("-- @sasl.password: hunter2 x", "-- @sasl.password: ******** x"),
        ('password => "hunter2"', 'password => "********"'),
        ("'password' = 'a ''token'' = ''b'", "'password' = '********'"),
    ],
)
def test_secret_is_found_beside_comments_and_signs(line: str, shown: str) -> None:
    position = SourceText.from_text("app.sql", line).position(Span(0, 1))
    assert position.text == shown
    masked = secret_spans(line)
    assert any("hunter2" in line[start:stop] or "token" in line[start:stop] for start, stop in masked)


def test_value_is_found_behind_all_comments() -> None:
    comments = "".join(f"-- of the user {number}: the token\n" for number in range(3))
    text = f"'sasl.password'\n{comments}/* 'x' */ = {comments}'hunter2'"
    assert [text[start:stop] for start, stop in secret_spans(text)] == ["hunter2"]


def test_each_comment_is_passed_once() -> None:
    """A page of comments in front of a statement: each of their last words is in front of all that follow."""
    line = "-- what this is about\n"
    text = line * 100 + "SELECT"
    ends: dict[int, int] = {}
    assert skip_blanks(text, len(line) - 1, ends) == len(line) * 100
    passed = len(ends)
    for number in range(2, 101):
        assert skip_blanks(text, number * len(line) - 1, ends) == len(line) * 100
    assert len(ends) <= passed + 99, "one step each, to where another has been"
