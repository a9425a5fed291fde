"""`ferris fmt`: what it writes, prints and answers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.surfaces.conftest import Ferris

ROUGH = "-- the rows\nselect a -- first\nfrom 'rows.jsonl' window tumbling(1m)\n"
FINE = "-- the rows\nSELECT\n  a -- first\nFROM 'rows.jsonl'\nGROUP BY\n  TUMBLE(INTERVAL '1' MINUTE);\n"


def test_file_is_rewritten_once(ferris: Ferris) -> None:
    file = ferris.folder / "app.sql"
    file.write_text(ROUGH, "utf-8")
    file.chmod(0o640)
    first = ferris("fmt", "app.sql")
    assert (first.code, first.out) == (0, "changed app.sql\n")
    assert file.read_text("utf-8") == FINE
    assert file.stat().st_mode & 0o777 == 0o640
    second = ferris("fmt", "app.sql")
    assert (second.code, second.out, second.err) == (0, "", "0 changed, 1 already formatted\n")
    assert os.listdir(ferris.folder) == ["app.sql"]


def test_check_and_diff_write_nothing_and_fail_where_something_would_change(ferris: Ferris) -> None:
    file = ferris.folder / "app.sql"
    file.write_text(ROUGH, "utf-8")
    checked, shown = ferris("fmt", "--check", "app.sql"), ferris("fmt", "--diff", "app.sql")
    assert (checked.code, checked.out) == (1, "would change app.sql\n")
    assert shown.code == 1
    assert "-select a -- first\n" in shown.out
    assert "+  a -- first\n" in shown.out
    assert file.read_text("utf-8") == ROUGH
    file.write_text(FINE, "utf-8")
    assert ferris("fmt", "--check", "app.sql").code == 0
    assert (ferris("fmt", "--diff", "app.sql").code, ferris("fmt", "--diff", "app.sql").out) == (0, "")


def test_standard_input_goes_to_standard_output(ferris: Ferris) -> None:
    ran = ferris("fmt", "-", stdin=ROUGH)
    assert (ran.code, ran.out, ran.err) == (0, FINE, "")
    assert ferris("fmt", "--check", "-", stdin=ROUGH).code == 1


def test_folder_is_all_its_files_and_a_wrong_one_stops_no_other(ferris: Ferris) -> None:
    for name, text in {"a.sql": ROUGH, "in/b.sql": "selec", "in/c.sql": ROUGH, "d.txt": ROUGH}.items():
        path = ferris.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    ran = ferris("fmt", ".")
    assert ran.code == 1
    assert ran.out.splitlines() == ["changed a.sql", f"changed {Path('in/c.sql')}"]
    assert "in/b.sql:1:1: no statement begins with 'SELEC' [E1001]" in ran.err
    assert ran.err.endswith("2 changed, 0 already formatted, 1 wrong\n")
    assert (ferris.folder / "d.txt").read_text("utf-8") == ROUGH


@pytest.mark.parametrize("arguments", [("missing.sql",), ("--check", "missing.sql"), ()])
def test_missing_file_is_wrong_usage(ferris: Ferris, arguments: tuple[str, ...]) -> None:
    assert ferris("fmt", *arguments).code == 2


def test_folder_without_sql_is_wrong_usage(ferris: Ferris) -> None:
    ran = ferris("fmt", ".")
    assert ran.code == 2
    assert "there is no .sql file" in ran.err
