"""Jobs over a real broker, killed at random points and moments from a seed, until the time is over.

    python -m tests.crash.chaos --seed 1 --minutes 10

Prints a table: for each kind of job how often it died, and how many results were lost, doubled or out of order. A
failing round prints the command that repeats it; moments differ from run to run, points do not.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ferrisstreams.connectors.kafka.records import Record
from ferrisstreams.runtime.faults import FAULT_POINTS, TRANSACTION_POINTS
from ferrisstreams.testing.broker import Broker
from ferrisstreams.testing.chance import Chance
from tests.crash.kafka_jobs import KINDS, PARTITIONS, KafkaJob, assert_rows, events

ROWS = 15_000
DEATHS_PER_ROUND = 6


@dataclass
class Row:
    """What came of all rounds of one kind of job."""

    rounds: int = 0
    deaths: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0


def round_of(broker: Broker, folder: Path, name: str, seed: int, row: Row) -> list[str]:
    """One job over records of its own: run undisturbed, and killed again and again; what differs."""
    chance = Chance("chaos", name, seed)
    topic = broker.create_topic(f"{name.replace(' ', '-')}-{seed}", PARTITIONS)
    records = events(seed, ROWS)
    broker.write(topic, [Record(value, partition=partition) for partition, value in records])
    jobs = []
    for kind in ("calm", "killed"):
        jobs.append(KafkaJob(broker, folder / f"{topic}-{kind}", f"{topic}-{kind}", KINDS[name], topic))
        (jobs[-1].folder / "in.jsonl").write_bytes(b"".join(value + b"\n" for _, value in records))
    calm, killed = jobs
    ended = calm.run()
    assert ended.code == 0, ended.err
    for _ in range(DEATHS_PER_ROUND):
        row.deaths += _die(killed, chance)
    last = killed.run()
    row.rounds += 1
    found, expected = Counter(killed.rows()), Counter(calm.rows())
    row.lost += (expected - found).total()
    row.doubled += (found - expected).total()
    problems = [] if last.code == 0 else [last.err]
    problems += [] if killed.letters() == calm.letters() else ["the dead letters differ"]
    audit = killed.audit()
    problems += [] if audit.code == 0 else [audit.out + audit.err]
    try:
        assert_rows(killed.kind, killed.rows(), calm.rows())
    except AssertionError as error:
        problems.append(str(error)[:2000])
    row.wrong += bool(problems)
    return problems


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed; the next round has the next one")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long to go on; 0: one round of each job")
    arguments = parser.parse_args()
    until = time.monotonic() + arguments.minutes * 60
    table = {name: Row() for name in KINDS}
    seed = arguments.seed
    with tempfile.TemporaryDirectory(prefix="ferris-chaos-") as folder, Broker(Path(folder) / "broker") as broker:
        while True:
            for name, row in table.items():
                for problem in round_of(broker, Path(folder), name, seed, row):
                    print(f"{name}, seed {seed}: {problem}", flush=True)
                    print(f"repeat: python -m tests.crash.chaos --seed {seed} --minutes 0", flush=True)
            print(f"seed {seed} done", file=sys.stderr, flush=True)
            seed += 1
            if time.monotonic() >= until:
                break
    print("| job | rounds | deaths | rows lost | rows doubled | rounds wrong |\n| --- | --- | --- | --- | --- | --- |")
    for name, row in table.items():
        print(f"| {name} | {row.rounds} | {row.deaths} | {row.lost} | {row.doubled} | {row.wrong} |")
    return 1 if any(row.lost or row.doubled or row.wrong for row in table.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
