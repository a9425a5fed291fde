from __future__ import annotations

from pathlib import Path

import pytest

from ferrisstreams.batch import JsonValue, Payload
from ferrisstreams.clock import ManualClock
from ferrisstreams.connectors.framing import CsvFraming, LineFraming
from ferrisstreams.connectors.output_names import OutputNames, is_pattern
from ferrisstreams.connectors.rotating_sink import RotatingSink, RotatingSinkSettings, Rotation
from ferrisstreams.errors import FatalConnectorError, StateError


def sink(folder: Path, rotation: Rotation, clock: ManualClock | None = None, append: bool = False) -> RotatingSink:
    names = OutputNames(str(folder / "out-{n}.csv"))
    settings = RotatingSinkSettings(names, CsvFraming(",", '"'), rotation, append=append)
    made = RotatingSink(settings, clock or ManualClock())
    made.open(None)
    return made


def rows(*values: str) -> Payload:
    return Payload("".join(f"{value}\n" for value in values).encode(), len(values))


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.iterdir()) if path.suffix != ".ferris"}


def commit(made: RotatingSink) -> JsonValue:
    mark = made.flush()
    made.confirm(mark)
    return mark


def test_file_holds_as_many_rows_as_asked_however_they_come(tmp_path: Path) -> None:
    made = sink(tmp_path, Rotation(rows=3))
    made.write(rows("1"))
    made.write(rows("2", '"a\nb"', "4", "5", "6", "7", "8"))
    commit(made)
    made.close()
    assert files(tmp_path) == {"out-1.csv": '1\n2\n"a\nb"\n', "out-2.csv": "4\n5\n6\n", "out-3.csv": "7\n8\n"}


def test_file_holds_no_more_bytes_than_asked_but_for_a_row_that_is_larger(tmp_path: Path) -> None:
    made = sink(tmp_path, Rotation(bytes=8))
    made.write(rows("123", "456", "7", "1234567890", "8"))
    commit(made)
    made.close()
    assert list(files(tmp_path).values()) == ["123\n456\n", "7\n", "1234567890\n", "8\n"]


def test_file_is_closed_when_it_is_old(tmp_path: Path) -> None:
    clock = ManualClock()
    made = sink(tmp_path, Rotation(interval_ms=1000), clock)
    made.write(rows("1"))
    clock.advance_ms(999)
    made.write(rows("2"))
    clock.advance_ms(1)
    made.write(rows("3"))
    commit(made)
    assert files(tmp_path) == {"out-1.csv": "1\n2\n", "out-2.csv.pending": "3\n"}
    assert not made.overdue()
    clock.advance_ms(1000)
    assert made.overdue()
    commit(made)
    assert files(tmp_path) == {"out-1.csv": "1\n2\n", "out-2.csv": "3\n"}
    assert not made.overdue()
    made.close()


def test_file_has_its_name_only_when_its_epoch_is_decided(tmp_path: Path) -> None:
    made = sink(tmp_path, Rotation(rows=1))
    made.write(rows("1"))
    mark = made.flush()
    assert files(tmp_path) == {"out-1.csv.pending": "1\n"}
    made.close()
    assert files(tmp_path) == {"out-1.csv.pending": "1\n"}, "it is not known whether the epoch was decided"
    again = sink_at(tmp_path, mark)
    assert files(tmp_path) == {"out-1.csv": "1\n"}
    again.close()


def sink_at(folder: Path, mark: JsonValue) -> RotatingSink:
    names = OutputNames(str(folder / "out-{n}.csv"))
    made = RotatingSink(RotatingSinkSettings(names, LineFraming(), Rotation(rows=1)), ManualClock())
    made.open(mark)
    return made


def test_file_that_no_decided_epoch_knows_is_removed(tmp_path: Path) -> None:
    made = sink(tmp_path, Rotation(rows=2))
    made.write(rows("1"))
    mark = commit(made)
    made.write(rows("2", "3"))
    made.flush()
    made.close()
    assert files(tmp_path) == {"out-1.csv.pending": "1\n2\n", "out-2.csv.pending": "3\n"}
    sink_at(tmp_path, mark)
    assert files(tmp_path) == {"out-1.csv.pending": "1\n"}


def test_orderly_end_gives_the_last_file_its_name_and_the_next_run_begins_another(tmp_path: Path) -> None:
    made = sink(tmp_path, Rotation(rows=10))
    made.write(rows("1"))
    mark = commit(made)
    made.write(rows("not decided"))
    made.close()
    assert files(tmp_path) == {"out-1.csv": "1\n"}
    again = sink_at(tmp_path, mark)
    again.write(rows("2"))
    commit(again)
    again.close()
    assert files(tmp_path) == {"out-1.csv": "1\n", "out-2.csv": "2\n"}


def test_new_job_does_not_write_among_the_files_of_another(tmp_path: Path) -> None:
    (tmp_path / "out-7.csv").write_text("theirs\n")
    with pytest.raises(FatalConnectorError, match="not empty") as caught:
        sink(tmp_path, Rotation(rows=1))
    assert caught.value.code == "E4004"
    made = sink(tmp_path, Rotation(rows=1), append=True)
    made.write(rows("ours"))
    commit(made)
    made.close()
    assert files(tmp_path) == {"out-7.csv": "theirs\n", "out-8.csv": "ours\n"}


def test_pending_file_that_lost_bytes_is_refused(tmp_path: Path) -> None:
    made = sink(tmp_path, Rotation(rows=10))
    made.write(rows("1"))
    mark = made.flush()
    made.close()
    (tmp_path / "out-1.csv.pending").write_text("")
    with pytest.raises(StateError, match="fewer than the 2 that the job wrote"):
        sink_at(tmp_path, mark)


@pytest.mark.parametrize("pattern", ["/a/out.csv", "/a/{n}-{n}.csv", "/a/%Q-{n}.csv"])
def test_path_that_cannot_rotate_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"\{n\}|%Q"):
        OutputNames(pattern)


def test_names_hold_number_and_time() -> None:
    names = OutputNames("/a/%Y-%m-%d/%H%M%S-{n:04}.csv")
    assert names.path(7, 0) == "/a/1970-01-01/000000-0007.csv"
    assert is_pattern(names.pattern)
    assert not is_pattern("/a/50%-{m}.csv")
