"""The examples give what they say."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.surfaces.conftest import Ferris

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_one_billion_rows_in_a_very_small_edition(ferris: Ferris) -> None:
    file = ferris.folder / "measurements.txt"
    subprocess.run([sys.executable, EXAMPLES / "one_billion_rows" / "generate.py", "20_000", file], check=True)
    shutil.copy(EXAMPLES / "one_billion_rows" / "measurements.sql", ferris.folder)
    ran = ferris("run", "measurements.sql", "-o", "json")
    assert ran.job["ledger"]["absorbed"] == 20_000
    values: dict[str, list[float]] = {}
    for line in file.read_text().splitlines():
        station, _, value = line.partition(";")
        values.setdefault(station, []).append(float(value))
    found = {row["station"]: row for row in ferris.lines("stations.jsonl")}
    assert len(found) == len(values) > 400
    for station, held in values.items():
        row = found[station]
        assert (row["lowest"], row["highest"]) == (min(held), max(held))
        assert abs(row["mean"] - sum(held) / len(held)) <= 0.05 + 1e-9
