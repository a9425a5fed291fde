"""The rows of the benchmark are what their titles say, and its cells cover what they claim to."""

from __future__ import annotations

import itertools
import json

import pytest

from benchmarks.faults import Fault, Format, csv_record, json_record
from benchmarks.measure import Figures
from benchmarks.odd_rows import BATCHES, CELLS, FAILING, OVER, SHARES, TITLE, Compared, OddRows, section, section_of


def properties(cell: OddRows) -> tuple[object, ...]:
    return Fault(cell.title), cell.format, cell.over, cell.letters, cell.batch, cell.one_in


def test_any_two_values_of_different_properties_meet_in_a_cell() -> None:
    possible = itertools.product(Fault, Format, OVER, (False, True), BATCHES, SHARES)
    wanted = {
        pair
        for case in possible
        if case[0].record(case[1]) is not None
        for pair in itertools.combinations(enumerate(case), 2)
    }
    found = {pair for cell in FAILING for pair in itertools.combinations(enumerate(properties(cell)), 2)}
    assert found >= wanted


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("format_", Format)
def test_faulty_row_differs_from_the_sound_one_and_parses_unless_it_is_malformed(fault: Fault, format_: Format) -> None:
    record = fault.record(format_)
    if record is None:
        assert fault in (Fault.DUPLICATE, Fault.RAGGED)
        return
    made = record(7)
    assert made is not None
    if format_ is Format.CSV:
        sound = csv_record(7)
        assert (made.count(",") == sound.count(",")) == (fault is not Fault.RAGGED)
    else:
        sound = json_record(7)
        if fault is Fault.MALFORMED:
            with pytest.raises(json.JSONDecodeError):
                json.loads(made)
        else:
            assert json.loads(made)
    assert made != sound


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.title}-{cell.format.name}-{cell.over}")
def test_stream_has_as_many_odd_rows_as_the_cell_says(cell: OddRows) -> None:
    odd = [row for row, value in enumerate(cell.rows(2_000)) if value != cell.plain(row)]
    assert len(odd) in (2_000 // cell.one_in, 0 if cell.odd is cell.plain else -1)


def test_cell_over_its_bar_is_bold_and_counted() -> None:
    cell = FAILING[0]
    clean = Figures(10, 1.0, 1.0, 100.0)
    good = Compared(cell, clean, Figures(10, 1.0, cell.bar, 130.0), 0.5)
    bad = Compared(cell, clean, Figures(10, 1.0, cell.bar + 0.1, 131.0), 0.5)
    page = "# Page\n\n" + section([good, bad], 3, 1, [0.5])
    assert "1 of 2 cells meet their bars; held to the work alone, 0 would meet the one for CPU. 3 over Kafka" in page
    assert page.count(f"**{cell.bar + 0.1:.2f}**") == 1
    assert page.count("**1.31**") == 1
    assert section_of(page) == page[page.index(TITLE) :].rstrip() + "\n"
