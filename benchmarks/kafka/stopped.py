"""A sink that stands still: how much memory a job takes while a million records wait and nobody takes its output.

    python -m benchmarks.kafka.stopped --records 1000000 --seconds 60

Two brokers: the job reads from one and writes to the other, exactly once. That one is stopped (SIGSTOP) before the
records come, and goes on after a while. Prints the peak of the job's resident memory, and whether each row came once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from benchmarks.kafka.data import Data, Work
from benchmarks.kafka.process import MEGABYTE_KB, Watched
from benchmarks.kafka.run import STALL_SECONDS, RunError, how
from benchmarks.kafka.topics import KEEP, OUTPUT, new_producer, reader, topics_of, write
from ferrisstreams.connectors.kafka.topics import NewTopicSettings
from tests.broker import Broker

#: Records that go through before the sink stops, so that all is open by then.
FIRST_RECORDS = 1_000

#: What a job may take at most, in MB of resident memory.
BAR_MB = 250

_APPLICATION = """-- @app: stopped
CREATE STREAM trades (id BIGINT, symbol TEXT, price DOUBLE, qty INTEGER, side TEXT, ts BIGINT)
WITH ('connector' = 'kafka', 'bootstrap.servers' = '{source}', 'topic' = 'trades');

CREATE STREAM results
WITH ('connector' = 'kafka', 'bootstrap.servers' = '{sink}', 'topic' = 'results') AS
SELECT id, symbol, price * qty AS amount, qty FROM trades WHERE side = 'buy';
"""


@dataclass(frozen=True, slots=True)
class Stopped:
    """What came of it: megabytes at the peak, before and while the sink stood still and in all, and how many rows."""

    before_mb: float
    stopped_mb: float
    peak_mb: float
    rows: int
    seconds_after: float


def measure(folder: Path, records: int, seconds: float, settings: Sequence[str] = ()) -> Stopped:
    """Raises RunError when a row is missing, wrong or repeated, or the job ends."""
    data = Data("trades", FIRST_RECORDS + records, 1_000, 50)
    with Broker(folder / "source", measured=True) as source, Broker(folder / "sink", measured=True) as sink:
        topics_of(source.bootstrap_servers).create(data.topic, NewTopicSettings(1, KEEP))
        topics_of(sink.bootstrap_servers).create("results", NewTopicSettings(1, OUTPUT))
        chunks, producer = data.chunks(), new_producer(source.bootstrap_servers)
        first = next(chunks)
        write(producer, data.topic, first[:FIRST_RECORDS])
        producer.flush()
        application = folder / "application.sql"
        application.write_text(
            _APPLICATION.format(source=source.bootstrap_servers, sink=sink.bootstrap_servers), "utf-8"
        )
        given = [option for setting in settings for option in ("--set", setting)]
        ferris = Path(sys.executable).with_name("ferris")
        watched = Watched([ferris, "run", application, "--state-dir", folder / "state", *given], folder, {})
        try:
            with reader(sink.bootstrap_servers, "results") as output:
                if not output.wait_for_first(lambda: watched.ended() is not None, STALL_SECONDS):
                    raise RunError(how(watched, "nothing came out"))
                before_mb = _peak_mb(watched)
                sink.freeze()
                for chunk in (first[FIRST_RECORDS:], *islice(chunks, None)):
                    write(producer, data.topic, chunk)
                producer.flush()
                time.sleep(seconds)
                stopped_mb = _peak_mb(watched)
                sink.thaw()
                thawed = time.monotonic()
                wanted = data.outputs(Work.FILTER)
                output.wait(wanted, lambda: watched.ended() is not None, STALL_SECONDS)
                found = output.read(wanted, STALL_SECONDS / 2)
                seconds_after = time.monotonic() - thawed
                wrong = data.difference(Work.FILTER, found.values)
                if wrong is not None:
                    raise RunError(how(watched, f"wrong: {wrong}"))
                return Stopped(before_mb, stopped_mb, _peak_mb(watched), len(found.values), seconds_after)
        finally:
            sink.thaw()
            watched.end()


def _peak_mb(watched: Watched) -> float:
    """The highest resident memory of the job's process so far; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{watched.pid}/status").read_text("utf-8").splitlines()
    except FileNotFoundError:
        return 0.0
    return float(next((line.split()[1] for line in lines if line.startswith("VmHWM:")), 0)) / MEGABYTE_KB


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000, help="how many wait while the sink stands still")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long it stands still")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the job")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ferris-stopped-") as folder:
        try:
            found = measure(Path(folder), arguments.records, arguments.seconds, arguments.set)
        except RunError as error:
            print(error, file=sys.stderr)
            return 1
    print(f"sink stopped for {arguments.seconds:g} s, {arguments.records:,} records waiting")
    print("| | |\n| --- | ---: |")
    print(f"| peak before, MB | {found.before_mb:.0f} |")
    print(f"| peak while it stood still, MB | {found.stopped_mb:.0f} |")
    print(f"| peak in all, MB | {found.peak_mb:.0f} |")
    print(f"| rows, each once | {found.rows:,} |")
    print(f"| seconds until all were there | {found.seconds_after:.1f} |")
    return 0 if found.peak_mb < BAR_MB else 1


if __name__ == "__main__":
    sys.exit(main())
