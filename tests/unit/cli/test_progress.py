from __future__ import annotations

import pytest

from ferrisstreams.cli.progress import LiveView
from ferrisstreams.connectors.base import SourceProgress
from ferrisstreams.runtime.observer import ProgressEvent


@pytest.mark.parametrize("total", [None, 0, 100])
def test_line_is_drawn_for_bounded_empty_and_endless_sources(total: int | None) -> None:
    with LiveView() as view:
        view.progress(ProgressEvent("j", 10, SourceProgress(10, total, "rows"), None, 0.0))
        view.progress(ProgressEvent("j", 20, SourceProgress(20, total, "rows"), 2**62, 0.2))
