"""The world outside fails while a job runs: it says what and why, loses nothing, and goes on when that is repaired."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ferrisstreams.connectors.output_claim import final_length
from tests.processes import REAL

ROWS = 12_000

APPLICATION = """
CREATE STREAM events (id BIGINT, pad TEXT)
WITH (connector = 'file', path = 'in/*.jsonl', 'batch.strategy' = 'fixed_size', 'batch.size' = 500 WATCH);
CREATE STREAM out WITH (connector = 'file', path = 'out/out.jsonl', 'commit.policy' = 'per_batch',
    failure_strategy = 'send_to_dlq', 'dlq.path' = 'letters.jsonl')
AS SELECT id, repeat(pad, 20) AS wide FROM events;
"""

GROUPS = """
CREATE STREAM events (id BIGINT, pad TEXT) WITH (connector = 'file', path = 'in/*.jsonl');
CREATE STREAM out WITH (connector = 'file', path = 'out/out.jsonl', 'commit.policy' = 'per_batch',
    'memory.limit' = '{limit}') AS SELECT id, pad || id AS name, count(*) AS n FROM events GROUP BY id, pad || id;
"""

#: What lets the superuser pass over the rights of files: taken from the job's process, so that rights mean something.
PR_CAPBSET_DROP = 24
CAPABILITIES = (1, 2)

LIBC = ctypes.CDLL(None)


@dataclass
class Place:
    """A folder with an application and its input."""

    folder: Path

    def __post_init__(self) -> None:
        for name in ("in", "out"):
            (self.folder / name).mkdir(parents=True)
        self.write("in/a.jsonl", range(ROWS))
        self.application()

    def application(self, text: str = APPLICATION, watch: bool = False) -> None:
        (self.folder / "app.sql").write_text(text.replace(" WATCH", ", watch = true" if watch else ""))

    def write(self, name: str, ids: range) -> None:
        lines = (json.dumps({"id": number, "pad": "x" * 10}) + "\n" for number in ids)
        (self.folder / name).write_text("".join(lines))

    def start(self, before: Callable[[], None] | None = None) -> subprocess.Popen[str]:
        """A run as an ordinary user; `before` is called in its process first."""

        def prepare() -> None:
            if before is not None:
                before()
            if os.getuid() == 0:
                for capability in CAPABILITIES:
                    LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)

        pipe = subprocess.PIPE
        command = [*REAL, "run", "app.sql", "-o", "json"]
        return subprocess.Popen(command, cwd=self.folder, preexec_fn=prepare, stdout=pipe, stderr=pipe, text=True)

    def run(self, before: Callable[[], None] | None = None) -> Any:
        """The job's summary."""
        return ended(self.start(before))

    def ids(self) -> list[int]:
        text = (self.folder / "out" / "out.jsonl").read_text()
        return [json.loads(line)["id"] for line in text.splitlines()]

    def audit(self) -> int:
        return subprocess.run([*REAL, "audit", "app.sql"], cwd=self.folder, capture_output=True, check=False).returncode

    def wait_for_output(self, process: subprocess.Popen[str], size: int) -> None:
        """Until so many bytes are final."""
        path = self.folder / "out" / "out.jsonl"
        for _ in range(600):
            if (final_length(str(path)) or 0) >= size:
                return
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(process.communicate())
        raise AssertionError("no output")


def ended(process: subprocess.Popen[str]) -> Any:
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err, err
    (job,) = json.loads(out.splitlines()[-1])["jobs"]
    return job


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "place")


def assert_went_on(place: Place) -> None:
    job = place.run()
    assert job["state"] == "finished", job
    assert place.ids() == list(range(ROWS))
    assert place.audit() == 0


@pytest.mark.parametrize("megabytes", [1, 2])
def test_full_disk_under_the_sink_fails_the_job_and_loses_nothing(megabytes: int, place: Place) -> None:
    size = megabytes << 20
    job = place.run(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))
    assert (job["state"], job["error"]["code"]) == ("failed", "E4003")
    assert "disk" in job["error"]["hint"]
    assert place.ids() == list(range(job["ledger"]["written"]))
    assert_went_on(place)


def test_memory_that_does_not_suffice_fails_the_job_and_more_of_it_goes_on(place: Place) -> None:
    place.application(GROUPS.format(limit="5MB"))
    job = place.run()
    assert (job["state"], job["error"]["code"]) == ("failed", "E6006")
    assert "memory.limit" in job["error"]["hint"]
    place.application(GROUPS.format(limit="200MB"))
    assert place.run()["state"] == "finished"
    assert sorted(place.ids()) == list(range(ROWS))


def test_permission_lost_in_the_middle_fails_the_job_and_given_again_it_goes_on(place: Place) -> None:
    place.application(watch=True)
    process = place.start()
    place.wait_for_output(process, 1)
    second = place.folder / "in" / "b.jsonl"
    place.write("new", range(ROWS, ROWS + 10))
    (place.folder / "new").chmod(0)
    (place.folder / "new").rename(second)
    job = ended(process)
    assert (job["state"], job["error"]["code"]) == ("failed", "E4001")
    assert "no permission" in job["error"]["message"]
    assert "permission to read" in job["error"]["hint"]
    second.chmod(0o644)
    process = place.start()
    place.wait_for_output(process, output_size(ROWS + 10))
    process.terminate()
    assert ended(process)["state"] == "stopped"
    assert sorted(place.ids()) == list(range(ROWS + 10))


def output_size(rows: int) -> int:
    return sum(len(json.dumps({"id": number, "wide": "x" * 200}, separators=(",", ":"))) + 1 for number in range(rows))


def test_folder_of_the_sink_moved_away_in_the_middle_fails_the_job_and_back_again_it_goes_on(place: Place) -> None:
    place.application(watch=True)
    process = place.start()
    place.wait_for_output(process, output_size(ROWS))
    (place.folder / "out").rename(place.folder / "away")
    place.write("in/b.jsonl", range(ROWS, ROWS + 10))
    job = ended(process)
    assert (job["state"], job["error"]["code"]) == ("failed", "E5003"), job
    assert "deleted or replaced" in job["error"]["message"]
    (place.folder / "away").rename(place.folder / "out")
    process = place.start()
    place.wait_for_output(process, output_size(ROWS + 10))
    process.terminate()
    assert ended(process)["state"] == "stopped"
    assert place.ids() == list(range(ROWS + 10))


def test_folder_of_the_sink_deleted_in_the_middle_is_noticed_before_the_epoch_ends(place: Place) -> None:
    place.application(watch=True)
    process = place.start()
    place.wait_for_output(process, output_size(ROWS))
    shutil.rmtree(place.folder / "out")
    place.write("in/b.jsonl", range(ROWS, ROWS + 10))
    job = ended(process)
    assert (job["state"], job["error"]["code"]) == ("failed", "E5003"), job
    assert job["ledger"]["written"] == ROWS
    assert "--overwrite" in job["error"]["hint"]


FULL_DISK = """
mount -t tmpfs -o size={size}k none "$1" || exit 77
cp -r "$2"/. "$1"; cd "$1"
head -c {filler}k /dev/zero > filler
"$3" -m ferrisstreams run app.sql -o json > "$2/first.json" 2>/dev/null
rm filler
"$3" -m ferrisstreams run app.sql -o json > "$2/second.json" 2>/dev/null
cp out/out.jsonl "$2/out/out.jsonl"
"$3" -m ferrisstreams audit app.sql
"""


@pytest.mark.parametrize("filler", [3000, 4200, 4900, 5300])
def test_full_file_system_fails_the_job_and_loses_nothing(filler: int, place: Place, tmp_path: Path) -> None:
    """State, letters and output on a real file system that is too small, then has room again."""
    target = tmp_path / "small"
    target.mkdir()
    script = FULL_DISK.format(size=6000, filler=filler)
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    done = subprocess.run([*command, target, place.folder, sys.executable], capture_output=True, text=True, check=False)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"a file system of one's own is not allowed here: {done.stderr}")
    first, second = (json.loads((place.folder / f"{name}.json").read_text())["jobs"][0] for name in ("first", "second"))
    assert first["state"] == "failed", first
    assert first["error"]["code"] in ("E4003", "E5005"), first
    assert "disk" in first["error"]["hint"]
    assert second["state"] == "finished", second
    assert place.ids() == list(range(ROWS))
    assert done.returncode == 0, done.stdout + done.stderr
