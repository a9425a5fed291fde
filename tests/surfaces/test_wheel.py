"""The wheel: what it says of itself, and that a job between files runs from it without the client of Kafka."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

from tests.surfaces.applications import BARS, LINES

ROOT = Path(__file__).resolve().parents[2]

ON_TOPIC = "CREATE STREAM t (id INTEGER) WITH ('connector' = 'kafka', 'bootstrap.servers' = 'x:1'); SELECT id FROM t;"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--wheel-dir", folder]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, ROOT], check=True)
    (made,) = folder.iterdir()
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel in a folder of its own, beside a client of Kafka that is not installed."""
    folder = tmp_path_factory.mktemp("installed")
    options = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", "--target", folder]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, wheel], check=True)
    missing = "raise ModuleNotFoundError(\"No module named 'confluent_kafka'\", name='confluent_kafka')\n"
    (folder / "confluent_kafka.py").write_text(missing, "utf-8")
    return folder


def run(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ferrisstreams", *arguments]
    environment = os.environ | {"PYTHONPATH": str(installed)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def test_wheel_says_what_it_is_and_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (place,) = (name for name in names if name.endswith("METADATA"))
        metadata = message_from_string(archive.read(place).decode("utf-8"))
    assert not [name for name in names if name.split("/")[0] != "ferrisstreams" and ".dist-info/" not in name]
    assert "ferrisstreams/py.typed" in names
    needs = metadata.get_all("Requires-Dist", [])
    assert [need for need in needs if "confluent" in need and "extra ==" not in need] == []
    assert {"kafka", "dev"} <= set(metadata.get_all("Provides-Extra", []))
    assert "Programming Language :: Python :: 3.14" in metadata.get_all("Classifier", [])
    assert metadata["Keywords"]


def test_job_between_files_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "bars.sql").write_text(BARS, "utf-8")
    (tmp_path / "trades.jsonl").write_text(LINES, "utf-8")
    ran = run(installed, tmp_path, "run", "bars.sql")
    assert ran.returncode == 0, ran.stderr
    assert len((tmp_path / "bars.jsonl").read_text("utf-8").splitlines()) == 3


def test_job_over_topics_says_what_to_install(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "topic.sql").write_text(ON_TOPIC, "utf-8")
    ran = run(installed, tmp_path, "run", "topic.sql")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "the client of Kafka is not installed [E3011]" in ran.stderr
    assert "hint: install it: pip install 'ferrisstreams[kafka]'" in ran.stderr
