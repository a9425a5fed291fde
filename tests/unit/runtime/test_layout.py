"""Which folders of a job are its state."""

from __future__ import annotations

from pathlib import Path

import pytest

from ferrisstreams.connectors.kafka.share import WHOLE, Share
from ferrisstreams.errors import StateError
from ferrisstreams.runtime.layout import Layout, delete, holds_state, others, read_layout, worker_folder, write_layout


def state_of(folder: Path, share: Share) -> None:
    found = worker_folder(folder, share)
    found.mkdir(parents=True, exist_ok=True)
    (found / "state.duckdb").touch()


def test_state_in_the_folder_itself_is_of_one_worker(tmp_path: Path) -> None:
    assert read_layout(tmp_path) is None
    state_of(tmp_path, WHOLE)
    assert worker_folder(tmp_path, WHOLE) == tmp_path
    assert read_layout(tmp_path) == Layout(1)


@pytest.mark.parametrize("workers", [1, 2, 17])
def test_file_says_how_many_workers_the_state_is_of(tmp_path: Path, workers: int) -> None:
    layout = Layout(workers, 3, going_to=4)
    write_layout(tmp_path / "job", Layout(5))
    write_layout(tmp_path / "job", layout)
    assert read_layout(tmp_path / "job") == layout
    assert not holds_state(tmp_path / "job", layout)
    state_of(tmp_path / "job", Share(workers - 1, workers))
    assert holds_state(tmp_path / "job", layout)
    assert others(tmp_path / "job", layout) == []


def test_state_of_others_is_told_from_that_of_the_layout(tmp_path: Path) -> None:
    for share in (WHOLE, Share(0, 2), Share(1, 2)):
        state_of(tmp_path, share)
    assert others(tmp_path, Layout(1)) == [tmp_path / "workers-2"]
    assert others(tmp_path, Layout(2)) == [tmp_path / "state.duckdb"]
    delete(others(tmp_path, Layout(2)))
    assert [path.name for path in tmp_path.iterdir()] == ["workers-2"]
    # One worker that comes after several has a folder as they had.
    (tmp_path / "workers-1").mkdir()
    state_of(tmp_path, WHOLE)
    assert (tmp_path / "workers-1" / "0" / "state.duckdb").exists()
    assert others(tmp_path, Layout(1)) == [tmp_path / "workers-2"]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"workers": "many", "partitions": null, "going_to": null}', "2"])
def test_file_that_says_nothing_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "workers.json").write_text(text)
    with pytest.raises(StateError) as error:
        read_layout(tmp_path)
    assert error.value.code == "E5005"


def test_every_partition_has_one_owner() -> None:
    for workers in range(1, 6):
        shares = [Share(worker, workers) for worker in range(workers)]
        for partition in range(13):
            assert [share.worker for share in shares if share.owns(partition)] == [partition % workers]
        assert sorted(number for share in shares for number in share.partitions_of(13)) == list(range(13))
