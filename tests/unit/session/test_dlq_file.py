"""Replay and purge of a file of letters, cut off anywhere and done again."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrisstreams.batch import Rejected
from ferrisstreams.connectors.file_sink import FileSink, FileSinkSettings
from ferrisstreams.connectors.registry import CONNECTORS
from ferrisstreams.errors import StateError
from ferrisstreams.runtime.deadletter import DeadLetters, LetterContext
from ferrisstreams.runtime.faults import REPLAY_POINTS, Crash, CrashAt, Faults, NoFaults
from ferrisstreams.runtime.letter_mark import LetterMark
from ferrisstreams.session.dlq import DeadLetterQueue
from ferrisstreams.session.dlq_file import FileLetters, ReplayTarget
from ferrisstreams.session.dlq_filter import LetterFilter
from ferrisstreams.session.dlq_journal import Journal
from ferrisstreams.session.dlq_letters import LetterState

CONTEXT = LetterContext(job="app.job", version="", connectors={"": CONNECTORS["file"]})
ALL = LetterFilter()


@dataclass
class Queue:
    """Letters of `values` in a folder, and a target to replay to."""

    folder: Path
    values: tuple[bytes, ...]

    def __post_init__(self) -> None:
        self.path, self.target = self.folder / "dlq.jsonl", self.folder / "in.jsonl"
        self.mark = LetterMark(self.path, "dlq.jsonl")
        self.letters = DeadLetters(FileSink(FileSinkSettings(str(self.path), letters=True)), CONTEXT, self.mark)
        self.letters.open(None)
        self.letters.write([rejected(value, at) for at, value in enumerate(self.values)], 1_700_000_000_000_000)
        self.letters.confirm(self.letters.flush())

    def open(self, faults: Faults | None = None) -> DeadLetterQueue:
        target = ReplayTarget(self.target, "in.jsonl")
        store = FileLetters(self.path, self.mark, faults or NoFaults(), writing=True, target=target)
        return DeadLetterQueue("job", store, replays_max=3)

    def replay(self, faults: Faults | None = None) -> int:
        queue = self.open(faults)
        try:
            return queue.replay(ALL, "in.jsonl", dry_run=False).replayed
        finally:
            queue.close()


def rejected(value: bytes, at: int, offset: int | None = None) -> Rejected:
    place = at if offset is None else offset
    return Rejected(value, "E2101", "malformed", "decode", "in.jsonl", place, f"in.jsonl byte {place}", row=at)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


#: Each example waits for the disk a few times.
OFTEN = settings(max_examples=40, deadline=None)

RECORDS = st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"\r")), max_size=20)


@OFTEN
@given(
    values=RECORDS,
    before=st.sampled_from([b"", b"{}\n", b"{}"]),
    crashes=st.lists(st.tuples(st.sampled_from(REPLAY_POINTS[:2]), st.integers(1, 3)), max_size=4),
)
def test_each_record_is_replayed_once_and_byte_for_byte_whatever_cuts_it_off(
    values: list[bytes], before: bytes, crashes: list[tuple[str, int]]
) -> None:
    with TemporaryDirectory() as name:
        queue = Queue(Path(name), tuple(values))
        queue.target.write_bytes(before)
        for point, hit in crashes:
            try:
                queue.replay(CrashAt(point, hit))
            except Crash:
                continue
        queue.replay()
        assert queue.replay() == 0
        newline = b"\n" if before == b"{}" and values else b""
        assert queue.target.read_bytes() == before + newline + b"".join(value + b"\n" for value in values)


@pytest.mark.parametrize("written", range(12))
def test_append_that_was_cut_off_in_the_middle_is_ended(written: int, folder: Path) -> None:
    queue = Queue(folder, (b"first", b"other"))
    with pytest.raises(Crash):
        queue.replay(CrashAt("after_replay_intent"))
    queue.target.write_bytes(b"first\nother\n"[:written])
    assert queue.replay() == 0
    assert queue.target.read_bytes() == b"first\nother\n"


def test_append_that_another_program_came_before_is_unsure_until_it_is_asked_for(folder: Path) -> None:
    queue = Queue(folder, (b"first", b"other"))
    with pytest.raises(Crash):
        queue.replay(CrashAt("after_replay_intent"))
    queue.target.write_bytes(b"of another program\n")
    opened = queue.open()
    assert [letter.state for letter in opened.letters(ALL)] == [LetterState.UNSURE, LetterState.UNSURE]
    report = opened.replay(ALL, "", dry_run=False)
    assert (report.replayed, sum(report.left.values())) == (0, 2)
    assert opened.replay(LetterFilter(states=(LetterState.UNSURE,)), "", dry_run=False).replayed == 2
    opened.close()
    assert queue.target.read_bytes() == b"of another program\nfirst\nother\n"


def test_replay_into_a_topic_that_an_older_version_left_open_is_unsure(folder: Path) -> None:
    queue = Queue(folder, (b"first", b"other"))
    opened = queue.open()
    first = next(opened.letters(ALL))
    opened.close()
    with closing(sqlite3.connect(queue.mark.journal_path)) as journal, journal:
        journal.execute("CREATE TABLE sending (topic TEXT, token TEXT)")
        journal.execute("INSERT INTO sending VALUES ('in', 'a token')")
        journal.execute("INSERT INTO replayed VALUES (?, 'in', '', 1, 'sending')", (first.id,))
    assert [queue.replay() for _ in range(2)] == [1, 0]
    assert queue.target.read_bytes() == b"other\n"
    opened = queue.open()
    assert [letter.state for letter in opened.letters(ALL)] == [LetterState.UNSURE, LetterState.REPLAYED]
    opened.close()


def test_append_behind_which_another_program_wrote_is_done(folder: Path) -> None:
    queue = Queue(folder, (b"first", b"other"))
    with pytest.raises(Crash):
        queue.replay(CrashAt("after_replay_write"))
    with queue.target.open("ab") as file:
        file.write(b"of another program\n")
    assert queue.replay() == 0
    assert queue.target.read_bytes() == b"first\nother\nof another program\n"


def test_target_that_was_cut_meanwhile_is_not_written_again(folder: Path) -> None:
    queue = Queue(folder, (b"first",))
    queue.target.write_bytes(b"0123456789\n")
    with pytest.raises(Crash):
        queue.replay(CrashAt("after_replay_write"))
    queue.target.write_bytes(b"")
    assert queue.replay() == 0
    assert queue.target.read_bytes() == b""


def test_letter_that_comes_back_counts_its_replays_and_is_quarantined_in_the_end(folder: Path) -> None:
    queue = Queue(folder, (b"bad",))
    for count in range(1, 4):
        place = queue.target.stat().st_size if queue.target.exists() else 0
        assert queue.replay() == 1
        queue.letters.write([rejected(b"bad", 0, offset=place)], 1_700_000_000_000_000 + count)
        queue.letters.confirm(queue.letters.flush())
    opened = queue.open()
    letters = list(opened.letters(ALL))
    assert [letter.replays for letter in letters] == [0, 1, 2, 3]
    assert [letter.state.value for letter in letters] == ["replayed", "replayed", "replayed", "quarantined"]
    opened.close()
    assert queue.replay() == 0


def test_letters_of_an_epoch_that_is_not_final_are_left_out(folder: Path) -> None:
    queue = Queue(folder, (b"final",))
    queue.letters.write([rejected(b"open", 1)], 1_700_000_000_000_000)
    queue.letters.flush()
    assert queue.replay() == 1
    assert queue.target.read_bytes() == b"final\n"


@OFTEN
@given(values=RECORDS, hits=st.lists(st.integers(1, 3), max_size=3))
def test_purged_letters_are_gone_and_no_byte_moves(values: list[bytes], hits: list[int]) -> None:
    with TemporaryDirectory() as name:
        queue = Queue(Path(name), tuple(values))
        before = queue.path.read_bytes()
        ids = [letter.id for number, letter in enumerate(all_letters(queue)) if number % 2]
        wanted = LetterFilter(ids=tuple(ids))
        for hit in hits:
            opened = queue.open(CrashAt("after_purge", hit))
            try:
                if ids:
                    opened.purge(wanted, dry_run=False)
            except Crash:
                continue
            finally:
                opened.close()
        opened = queue.open()
        if ids:
            opened.purge(wanted, dry_run=False)
        assert [letter.value for letter in opened.letters(ALL)] == values[::2]
        opened.close()
        lines = before.splitlines(keepends=True)
        blank = [line if at % 2 == 0 else b" " * (len(line) - 1) + b"\n" for at, line in enumerate(lines)]
        assert queue.path.read_bytes() == b"".join(blank)


def all_letters(queue: Queue) -> list[object]:
    opened = queue.open()
    try:
        return list(opened.letters(ALL))
    finally:
        opened.close()


def test_second_process_is_refused_while_the_first_works(folder: Path) -> None:
    queue = Queue(folder, (b"bad",))
    first = queue.open()
    for writing in (True, False):
        with pytest.raises(StateError) as refused:
            Journal(queue.mark.journal_path, writing).state("0.0")
        assert refused.value.code == "E5001"
    first.close()


def test_line_that_is_no_letter_is_named(folder: Path) -> None:
    queue = Queue(folder, (b"bad",))
    queue.path.write_bytes(queue.path.read_bytes().replace(b"ferris.code", b"other.code!"))
    opened = queue.open()
    with pytest.raises(StateError, match="byte 0 is not a dead letter"):
        list(opened.letters(ALL))
    opened.close()


def test_letters_go_on_in_a_copy_of_their_folder_also_when_the_first_were_purged(folder: Path) -> None:
    queue = Queue(folder, (b"bad", b"worse"))
    opened = queue.open()
    opened.store.purge(list(opened.store.letters())[:1])
    opened.close()
    mark = queue.mark.placed({"length": queue.mark.length()})
    copy = Path(shutil.copytree(folder, folder.with_name(f"{folder.name}-copy"))) / queue.path.name
    letters = DeadLetters(FileSink(FileSinkSettings(str(copy), letters=True)), CONTEXT, LetterMark(copy, "dlq.jsonl"))
    letters.open(mark)
    assert LetterMark(copy, "dlq.jsonl").length() == queue.path.stat().st_size
    letters.close()
    again = FileLetters(copy, LetterMark(copy, "dlq.jsonl"), NoFaults())
    assert [letter.value for letter in again.letters()] == [b"worse"]
    again.close()


def test_damaged_journal_is_named(folder: Path) -> None:
    queue = Queue(folder, (b"bad",))
    queue.mark.journal_path.write_bytes(b"not a database, but longer than its header " * 100)
    with pytest.raises(StateError) as refused:
        queue.open()
    assert refused.value.code == "E5005"
