"""Every failure strategy, wherever the failure is, on either side and in either mode of delivery."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from ferrisstreams.clock import ManualClock
from ferrisstreams.config.values import Property
from ferrisstreams.errors import ConnectorError, FatalConnectorError, RowError, TransientError
from ferrisstreams.runtime.environment import Environment, StandIns
from ferrisstreams.runtime.job import Job, JobResult
from ferrisstreams.runtime.observer import ProgressEvent
from ferrisstreams.runtime.watched import watched
from ferrisstreams.sql.application import parse_application
from ferrisstreams.testing.doubles import (
    CollectingSink,
    Cuts,
    Records,
    RecordSource,
    TransactionalSink,
    TransactionLog,
)
from tests.failing import Outage, Outages
from tests.sampling import pairwise

STATELESS = "SELECT k, 10 / CAST(k AS INT) AS share, CASE WHEN v = 66 THEN 'inf'::DOUBLE ELSE v END AS v FROM s"
GROUPED = """SELECT k, max(v) AS v, CAST(max(k) AS INT) AS whole, max(CASE WHEN v = 66 THEN 'inf'::DOUBLE END) AS odd
FROM s GROUP BY k EMIT CHANGES"""
APPLICATION = """
CREATE STREAM s (k TEXT, v INT) WITH (connector='file', path='in.jsonl');
CREATE STREAM out AS {query} WITH (connector='file', path='out.jsonl', 'batch.strategy'='fixed_size', 'batch.size'=2);
"""

GOOD = [b'{"k": "%d", "v": %d}' % (number, number) for number in range(1, 10)]

#: What a bad row is, and on which side it fails.
BAD_ROWS = {
    "decode": (STATELESS, b'{"k": "1", "v": "many"}', "source", "E2104"),
    "evaluate": (STATELESS, b'{"k": "one", "v": 1}', "source", "E2201"),
    "encode": (STATELESS, b'{"k": "1", "v": 66}', "sink", "E2401"),
    "decode, grouped": (GROUPED, b'{"k": "1", "v": "many"}', "source", "E2104"),
    "evaluate, of a group": (GROUPED, b'{"k": "one", "v": 1}', "sink", "E2402"),
    "encode, of a group": (GROUPED, b'{"k": "77", "v": 66}', "sink", "E2401"),
}

#: Settings, and the route that a failing row takes by them.
STRATEGIES: Mapping[str, tuple[Mapping[str, str], str]] = {
    "default": ({}, "skip"),
    "LogAndContinue": ({"failure_strategy": "LogAndContinue"}, "skip"),
    "SendToDLQ": ({"failure_strategy": "SendToDLQ"}, "dlq"),
    "FailBatch": ({"failure_strategy": "FailBatch"}, "fail"),
    "RetryWithBackoff": ({"failure_strategy": "RetryWithBackoff", "max_retries": "2"}, "dlq"),
    "RetryWithBackoff, fail": (
        {"failure_strategy": "retry_with_backoff", "max_retries": "2", "on.exhausted": "fail"},
        "fail",
    ),
    "RetryWithBackoff, skip": (
        {"failure_strategy": "retry-with-backoff", "max_retries": "2", "on.exhausted": "skip"},
        "skip",
    ),
}

MODES = ("exactly_once", "at_least_once")


class Told:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []
        self.breakers: list[Mapping[str, str]] = []

    def progress(self, event: ProgressEvent) -> None:
        self.breakers.append(event.breakers)

    def event(self, name: str, **fields: object) -> None:
        self.events.append((name, fields))

    def named(self, name: str) -> list[dict[str, object]]:
        return [fields for found, fields in self.events if found == name]


@dataclass
class World:
    """What outlives a run: records, sinks, state, the clock, and what is out of order."""

    folder: Path
    records: list[bytes]
    settings: Mapping[str, str]
    query: str = STATELESS
    source: Outages = field(default_factory=Outages)
    sink: Outages = field(default_factory=Outages)
    durable: bool = False
    transactions: Outages | None = None

    def __post_init__(self) -> None:
        """With `transactions` they decide, and that is what is out of order of them."""
        in_transactions = TransactionalSink()
        self.rows: CollectingSink = in_transactions if self.transactions is not None else CollectingSink()
        self.log = TransactionLog(in_transactions)
        self.letter_sink, self.told = CollectingSink(), Told()
        self.clock = ManualClock(1_700_000_000_000_000)

    def run(self) -> JobResult:
        plan = parse_application(APPLICATION.format(query=self.query), "app.sql").jobs[0]
        records = Records({"p": self.records})
        stand_ins = StandIns(
            source=lambda _, block: watched(RecordSource(records, Cuts(), block, self.clock), self.source.watch),
            sink=watched(self.rows, self.sink.watch),
            dead_letters=self.letter_sink,
            transactions=watched(self.log, self.transactions.watch) if self.transactions else None,
        )
        environment = Environment(
            "app",
            self.folder,
            state_root=self.folder if self.durable else None,
            overrides={name: Property(value, origin="with") for name, value in self.settings.items()},
            clock=self.clock,
            observer=self.told,
            stand_ins=stand_ins,
        )
        return Job(plan, environment).run()

    @property
    def letters(self) -> list[dict[str, str]]:
        return [json.loads(line)["headers"] for line in self.letter_sink.lines]


@pytest.mark.parametrize(("where", "strategy", "way"), pairwise(list(BAD_ROWS), list(STRATEGIES), [*MODES, "side"]))
def test_failing_row_goes_the_way_of_its_side(where: str, strategy: str, way: str, tmp_path: Path) -> None:
    """By way of the side the strategy is that side's alone: the other one, which would fail, is not asked."""
    mode, prefix = ("exactly_once", "side.") if way == "side" else (way, "")
    query, bad, side, code = BAD_ROWS[where]
    settings, route = STRATEGIES[strategy]
    given = {f"{side}.{name}" if prefix else name: value for name, value in settings.items()}
    if prefix and settings:
        given["sink.failure_strategy" if side == "source" else "source.failure_strategy"] = "FailBatch"
    world = World(tmp_path, [*GOOD, bad, *GOOD], {"job.mode": mode, **given}, query)
    result = world.run()
    if route == "fail":
        assert isinstance(result.error, RowError)
        assert result.error.code == "E6001"
        assert world.letters == []
    else:
        assert result.error is None
        ledger = result.ledger
        failed = {
            ("source", "skip"): ledger.skipped,
            ("source", "dlq"): ledger.dead_lettered,
            ("sink", "skip"): ledger.output_rejected,
            ("sink", "dlq"): ledger.output_rejected,
        }[side, route]
        assert failed >= 1
        assert ledger.skipped + ledger.dead_lettered + ledger.output_rejected == failed
        assert ledger.read == 19
        assert {letter["ferris.code"] for letter in world.letters} == ({code} if route == "dlq" else set())
    attempts = {letter["ferris.attempts"] for letter in world.letters}
    assert attempts <= ({"3"} if "Retry" in strategy else {"1"})


@pytest.mark.parametrize(
    ("query", "written"),
    [
        ("SELECT k, CAST(max(k) AS INT) + 1 AS n FROM s GROUP BY k", 'CAST(MAX("k") AS INT) + 1'),
        ("SELECT CAST(left(k, 3) AS INT), sum(v) FROM s GROUP BY left(k, 3)", 'CAST(LEFT("k", 3) AS INT)'),
        ("SELECT k FROM s GROUP BY k HAVING CAST(max(k) AS INT) > 0", 'CAST(MAX("k") AS INT) > 0'),
    ],
)
def test_failure_above_an_aggregate_names_what_the_query_has(query: str, written: str, tmp_path: Path) -> None:
    world = World(tmp_path, [b'{"k": "one", "v": 1}'], {"failure_strategy": "SendToDLQ"}, f"{query} EMIT FINAL")
    world.run()
    (letter,) = world.letters
    assert letter["ferris.expression"] == written
    assert letter["__connect.errors.exception.message"] == f"{written} fails: Could not convert string 'one' to INT32"


def test_many_failures_above_an_aggregate_show_the_values_of_what_the_query_has(tmp_path: Path) -> None:
    records = [b'{"k": "no %d", "v": 1}' % number for number in range(40)]
    query = "SELECT k, CAST(max(k) AS INT) AS n FROM s GROUP BY k EMIT FINAL"
    world = World(tmp_path, records, {"failure_strategy": "SendToDLQ"}, query)
    world.run()
    last = world.letters[-1]["__connect.errors.exception.message"]
    assert last.startswith('CAST(MAX("k") AS INT) fails for {"MAX(\\"k\\")":"no ')


def test_reasons_of_the_engine_are_asked_for_the_first_rows_of_a_job_and_one_of_a_batch(tmp_path: Path) -> None:
    records = [b'{"k": "no %d", "v": 1}' % number for number in range(40)]
    settings = {"failure_strategy": "SendToDLQ", "batch.strategy": "fixed_size", "batch.size": "4"}
    world = World(tmp_path, records, settings, "SELECT CAST(k AS INT) AS n FROM s")
    world.run()
    messages = [letter["__connect.errors.exception.message"] for letter in world.letters]
    with_reason = [row for row, message in enumerate(messages) if "Could not convert string" in message]
    assert with_reason == [*range(10), *range(12, 40, 4)]
    assert all(f'"no {row}"' in message for row, message in enumerate(messages) if row not in with_reason)


def test_letter_of_a_row_that_was_tried_again_tells_when_it_first_failed(tmp_path: Path) -> None:
    settings = {"failure_strategy": "retry_with_backoff", "retry_backoff": "10s", "max_retries": "6"}
    world = World(tmp_path, [b"{", *GOOD], settings)
    assert world.run().error is None
    (letter,) = world.letters
    assert letter["ferris.attempts"] == "7"
    assert "2023-11-14T22:13:20" < letter["ferris.first_failed_at"] < letter["ferris.last_failed_at"]


BUSY = TransientError("busy", "E4102")

#: A call that fails, of which side. An epoch whose `confirm` fails stands, each failure is behind progress.
CALLS = {
    "source open": ("source", "open"),
    "source poll": ("source", "poll"),
    "sink open": ("sink", "open"),
    "sink write": ("sink", "write"),
    "sink flush": ("sink", "flush"),
    "sink confirm": ("sink", "confirm"),
}
HELD = [where for where in CALLS if where != "sink confirm"]


def out_of_order(world: World, where: str, outage: Outage) -> None:
    side, _ = CALLS[where]
    setattr(world, side, Outages(outage))


@cache
def undisturbed(query: str) -> tuple[list[bytes], JobResult]:
    """Output and result without any outage."""
    calm = World(Path(), GOOD, {"commit.policy": "per_batch"}, query)
    result = calm.run()
    return calm.rows.lines, result


#: A job, and whether a call that fails has done its work.
JOBS = {
    "stateless": (STATELESS, False, "exactly_once"),
    "grouped, answer lost": (GROUPED, True, "exactly_once"),
    "at least once, answer lost": (STATELESS, True, "at_least_once"),
}


@pytest.mark.parametrize(
    ("where", "strategy", "job"),
    pairwise(list(CALLS), [name for name in STRATEGIES if "," not in name], list(JOBS)),
)
def test_outage_that_ends_within_the_retries_changes_nothing(
    where: str, strategy: str, job: str, tmp_path: Path
) -> None:
    query, done, mode = JOBS[job]
    lines, expected = undisturbed(query)
    world = World(tmp_path, GOOD, {"commit.policy": "per_batch", "job.mode": mode, **STRATEGIES[strategy][0]}, query)
    out_of_order(world, where, Outage(CALLS[where][1], BUSY, times=2, after=0 if "open" in where else 2, done=done))
    result = world.run()
    assert (result.state, result.error) == ("finished", None)
    assert world.rows.lines == lines
    assert result.ledger == expected.ledger
    assert result.rows == expected.rows == 9
    assert len(world.told.named("job_reopens")) + len(world.told.named("follow_up_failed")) == 2
    # Behind the decision the epoch stands: what failed is done again, and opens the job again when it fails again.
    assert len(world.told.named("follow_up_failed")) == (where == "sink confirm")


@pytest.mark.parametrize(("where", "strategy", "mode"), pairwise(HELD, ["default", "SendToDLQ", "FailBatch"], MODES))
def test_outage_that_outlasts_the_retries_fails_the_job_and_loses_nothing(
    where: str, strategy: str, mode: str, tmp_path: Path
) -> None:
    settings = {"commit.policy": "per_batch", "job.mode": mode, "max_retries": "4", **STRATEGIES[strategy][0]}
    world = World(tmp_path, GOOD, settings, durable=True)
    out_of_order(world, where, Outage(CALLS[where][1], BUSY, times=5, after=0 if "open" in where else 2))
    result = world.run()
    assert result.state == "failed"
    assert result.error is not None
    assert result.error.code == "E4102"
    assert len(world.told.named("job_reopens")) == 4
    assert result.ledger.written == len(world.rows.lines)
    assert world.run().state == "finished"
    assert [json.loads(line)["k"] for line in world.rows.lines] == [str(number) for number in range(1, 10)]


@pytest.mark.parametrize("where", HELD)
def test_retry_with_backoff_outlasts_any_outage(where: str, tmp_path: Path) -> None:
    side = CALLS[where][0]
    world = World(tmp_path, GOOD, {f"{side}.failure_strategy": "RetryWithBackoff", "commit.policy": "per_batch"})
    out_of_order(world, where, Outage(CALLS[where][1], BUSY, times=15, after=0 if "open" in where else 2))
    assert world.run().state == "finished"
    assert len(world.rows.lines) == 9
    states = [fields["state"] for fields in world.told.named("circuit_breaker") if fields["connector"] == side]
    assert states[:3] == ["open", "half_open", "open"]


@pytest.mark.parametrize(("side", "where"), [("source", "sink flush"), ("sink", "source poll")])
def test_patience_of_one_side_is_not_the_other_sides(side: str, where: str, tmp_path: Path) -> None:
    world = World(tmp_path, GOOD, {f"{side}.failure_strategy": "RetryWithBackoff", "max_retries": "1"})
    out_of_order(world, where, Outage(CALLS[where][1], BUSY, times=40))
    assert world.run().state == "failed"
    assert len(world.told.named("job_reopens")) == 1


@pytest.mark.parametrize("side", ["source", "sink"])
def test_retries_and_waits_are_those_of_the_side(side: str, tmp_path: Path) -> None:
    settings = {f"{side}.max_retries": "6", f"{side}.retry_backoff": "4ms", f"{side}.retry_backoff.max": "20ms"}
    world = World(tmp_path, GOOD, {**settings, "max_retries": "0", "circuit.failure_threshold": "100"})
    where = "source poll" if side == "source" else "sink flush"
    out_of_order(world, where, Outage(CALLS[where][1], BUSY, times=40))
    assert world.run().state == "failed"
    waits = [float(str(fields["wait_ms"])) for fields in world.told.named("job_reopens")]
    assert len(waits) == 6
    assert all(wait <= longest for wait, longest in zip(waits, [4, 8, 16, 20, 20, 20], strict=True))


@pytest.mark.parametrize("where", CALLS)
def test_fatal_error_is_not_tried_again(where: str, tmp_path: Path) -> None:
    gone = FatalConnectorError("no such topic", "E4103", "make it")
    times = 2 if where == "sink confirm" else 1  # an epoch that stands is tried to be published once more
    world = World(tmp_path, GOOD, {"failure_strategy": "RetryWithBackoff", "commit.policy": "per_batch"}, durable=True)
    out_of_order(world, where, Outage(CALLS[where][1], gone, times=times, after=0 if "open" in where else 2))
    result = world.run()
    assert result.state == "failed"
    assert str(result.error) == str(gone)
    assert world.told.named("job_reopens") == []
    assert world.run().state == "finished"
    assert [json.loads(line)["k"] for line in world.rows.lines] == [str(number) for number in range(1, 10)]


@pytest.mark.parametrize("refused", [BUSY, FatalConnectorError("no such transaction", "E4108")])
def test_abort_that_is_refused_is_no_reason_to_fail(refused: ConnectorError, tmp_path: Path) -> None:
    """The broker that comes back knows nothing of the transaction; whatever it knows is settled by the next start."""
    world = World(tmp_path, GOOD, {"commit.policy": "per_batch"}, transactions=Outages(Outage("abort", refused)))
    out_of_order(world, "sink flush", Outage("flush", BUSY, after=2))
    result = world.run()
    assert (result.state, result.error) == ("finished", None)
    assert world.rows.lines == undisturbed(STATELESS)[0]
    assert [fields["message"] for fields in world.told.named("job_reopens")] == ["busy"]


def test_open_breaker_keeps_the_source_from_being_read(tmp_path: Path) -> None:
    settings = {"circuit.recovery_timeout": "10m", "sink.circuit.success_threshold": "50"}
    world = World(tmp_path, GOOD, {"failure_strategy": "RetryWithBackoff", **settings})
    out_of_order(world, "sink flush", Outage("flush", BUSY, times=6, after=1))
    result = world.run()
    assert result.state == "finished"
    assert result.breakers == {"source": "closed", "sink": "half_open"}
    waits = [float(str(fields["wait_ms"])) for fields in world.told.named("job_reopens")]
    assert [wait >= 590_000 for wait in waits] == [False] * 4 + [True] * 2
    assert world.told.breakers[-1]["sink"] == "half_open"


def test_breaker_closes_after_enough_successes(tmp_path: Path) -> None:
    settings = {
        "failure_strategy": "RetryWithBackoff",
        "commit.policy": "per_batch",
        "sink.circuit.success_threshold": "2",
    }
    world = World(tmp_path, GOOD, settings)
    out_of_order(world, "sink flush", Outage("flush", BUSY, times=5, after=1))
    assert world.run().breakers == {"source": "closed", "sink": "closed"}
    states = [fields["state"] for fields in world.told.named("circuit_breaker")]
    assert states == ["open", "half_open", "closed"]
