"""Jobs over a real broker that goes away, killed at random points and moments from a seed, until the time is over.

    python -m tests.crash.chaos --seed 1 --minutes 10

Prints a table: for each kind of job how often it died and how often the broker stood still or was killed under it, and
how many results were lost, doubled or out of order. Exits with 1 when there was any of these. A failing round prints
the command that repeats it; moments differ from run to run, points do not.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ferrisstreams.clock import SystemClock
from ferrisstreams.connectors.kafka.records import Record
from ferrisstreams.errors import ConnectorError
from ferrisstreams.runtime.faults import FAULT_POINTS, TRANSACTION_POINTS
from ferrisstreams.testing.chance import Chance
from tests.broker import Broker
from tests.crash.kafka_jobs import KINDS, PARTITIONS, KafkaJob, assert_rows, events

#: So many that a run takes several seconds: trouble comes in the middle.
ROWS = 40_000
TROUBLES_PER_ROUND = 7

#: Seconds that a broker is away; most often briefly, now and then longer than any time-out of a job.
AWAY = (0.2, 1, 1, 2, 2, 3, 3, 5, 5, 8, 12, 30, 60)
#: What lets a job outlast that.
PATIENCE = (
    *("--set", "failure_strategy=retry_with_backoff"),
    *("--set", "retry_backoff=50ms"),
    *("--set", "retry_backoff.max=2s"),
)
#: How long a job may take to its end after the broker has come back: several times its longest time-out.
END_SECONDS = 180

_CLOCK = SystemClock()


@dataclass
class Row:
    """What came of all rounds of one kind of job."""

    rounds: int = 0
    deaths: int = 0
    outages: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0


def round_of(broker: Broker, folder: Path, name: str, seed: int, row: Row) -> list[str]:
    """One job over records of its own: run undisturbed, and killed again and again; what differs."""
    chance = Chance("chaos", name, seed)
    topic = broker.create_topic(f"{name.replace(' ', '-').replace(',', '')}-{seed}", PARTITIONS)
    records = events(seed, ROWS)
    broker.write(topic, [Record(value, partition=partition) for partition, value in records])
    jobs = []
    for kind in ("calm", "killed"):
        jobs.append(KafkaJob(broker, folder / f"{topic}-{kind}", f"{topic}-{kind}", KINDS[name], topic))
        (jobs[-1].folder / "in.jsonl").write_bytes(b"".join(value + b"\n" for _, value in records))
    calm, killed = jobs
    ended = calm.run()
    assert ended.code == 0, ended.err
    problems = []
    for number in range(TROUBLES_PER_ROUND):
        if number % 4 == 1:
            problems += _outage(broker, killed, chance, row, to_the_end=number > 1)
        else:
            row.deaths += _die(killed, chance)
    last = killed.run()
    found, expected = Counter(killed.rows()), Counter(calm.rows())
    row.lost += (expected - found).total()
    row.doubled += (found - expected).total()
    problems += [] if last.code == 0 else [last.err]
    problems += [] if killed.letters() == calm.letters() else ["the dead letters differ"]
    audit = killed.audit()
    problems += [] if audit.code == 0 else [audit.out + audit.err]
    try:
        assert_rows(killed.kind, killed.rows(), calm.rows())
    except AssertionError as error:
        problems.append(f"out of order: {str(error)[:2000]}")
    for job in jobs:
        shutil.rmtree(job.folder)
    for name in (topic, *(each for job in jobs for each in (job.output, job.letters_topic))):
        if broker.topics.partitions(name) is not None:
            broker.topics.delete(name)
    return problems


def _outage(broker: Broker, job: KafkaJob, chance: Chance, row: Row, to_the_end: bool) -> list[str]:
    """The broker stands still, or dies and comes back, under a job that has patience.

    Then the job dies too, or, `to_the_end`, must come to its end.
    """
    process = job.start(*PATIENCE)
    try:
        process.wait(0.5 + chance.below(30) / 10)
    except subprocess.TimeoutExpired:
        row.outages += 1
        seconds = chance.pick(AWAY)
        if chance.below(2):
            broker.freeze()
            _CLOCK.sleep_ms(seconds * 1000)
            broker.thaw()
        else:
            broker.kill()
            _CLOCK.sleep_ms(seconds * 1000)
            broker.start()
        if not to_the_end:
            process.kill()
            process.communicate()
            row.deaths += 1
            return []
    try:
        _, err = process.communicate(timeout=END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        _, err = process.communicate()
        return [f"does not end after an outage: {err[-2000:]}"]
    return [] if process.returncode == 0 else [f"does not outlast an outage: {err[-2000:]}"]


def _die(job: KafkaJob, chance: Chance) -> int:
    """Run the job until it dies, at a point or at a moment; 0 when it comes to its end before."""
    points = (*FAULT_POINTS, *TRANSACTION_POINTS)
    if chance.below(2):
        return int(job.run(f"{chance.pick(points)}:{1 + chance.below(6)}").code == -9)
    process = job.start()
    try:
        process.communicate(timeout=0.5 + chance.below(30) / 10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return 1
    return 0


def _rounds(broker: Broker, folder: Path, arguments: argparse.Namespace, table: dict[str, Row]) -> None:
    """One round of each kind after another, each seed's whole, until the time is over."""
    until, seed = time.monotonic() + arguments.minutes * 60, arguments.seed
    while seed == arguments.seed or time.monotonic() < until:
        for name, row in table.items():
            try:
                problems = round_of(broker, folder, name, seed, row)
            except (AssertionError, ConnectorError, subprocess.SubprocessError) as error:
                if broker.pid is None:
                    raise
                problems = [f"the round breaks off: {str(error)[-2000:]}"]
            row.rounds += 1
            row.wrong += bool(problems)
            for problem in problems:
                print(f"{name}, seed {seed}: {problem}", flush=True)
                print(f"repeat: python -m tests.crash.chaos --seed {seed} --minutes 0", flush=True)
        print(f"seed {seed} done", file=sys.stderr, flush=True)
        seed += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed; the next round has the next one")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long to go on; 0: one round of each job")
    arguments = parser.parse_args()
    # Ended from outside it also ends its broker, and tells what it has found.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    table = {name: Row() for name in KINDS}
    broken = False
    with tempfile.TemporaryDirectory(prefix="ferris-chaos-") as folder, Broker(Path(folder) / "broker") as broker:
        try:
            _rounds(broker, Path(folder), arguments, table)
        except (AssertionError, ConnectorError, subprocess.SubprocessError, KeyboardInterrupt) as error:
            broken = True
            print(f"ended early: {error!r}", flush=True)
    print("| job | rounds | deaths | outages | rows lost | rows doubled | rounds wrong |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, row in table.items():
        counts = (row.rounds, row.deaths, row.outages, row.lost, row.doubled, row.wrong)
        print(f"| {name} | {' | '.join(map(str, counts))} |")
    return 1 if broken or any(row.lost or row.doubled or row.wrong for row in table.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
