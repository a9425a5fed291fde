from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from ferrisstreams.connectors.file_settings import FileSourceSettings
from ferrisstreams.errors import FatalConnectorError
from ferrisstreams.session.recount import count_records, count_written, size_of


def test_file_that_its_job_has_renamed_meanwhile_is_counted_under_its_final_name(tmp_path: Path) -> None:
    listed = str(tmp_path / "o-1.jsonl.pending")
    Path(listed).write_text('{"a":1}\n{"a":2}\n')
    counted = partial(count_records, stop=None, settings=FileSourceSettings(listed))
    before = size_of([listed]), count_written(listed, counted)
    Path(listed).rename(tmp_path / "o-1.jsonl")
    assert (size_of([listed]), count_written(listed, counted)) == before == (16, 2)


@pytest.mark.parametrize("name", ["o-1.jsonl", "o-1.jsonl.pending"])
def test_file_that_is_gone_is_said(name: str, tmp_path: Path) -> None:
    gone = str(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        size_of([gone])
    with pytest.raises(FatalConnectorError):
        count_written(gone, partial(count_records, stop=None, settings=FileSourceSettings(gone)))
