"""Options of all tests, and the broker of the run."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import settings

from ferrisstreams.duck.scratch import keep_scratch
from tests.broker import Cluster
from tests.kafka_broker import begin_run, end_run, run_cluster

# The draws of a property are the same in every run, so that a change is blamed for what it did alone; new draws come
# from `make fuzz` and `--hypothesis-profile=random`.
settings.register_profile("suite", derandomize=True, database=None)
settings.register_profile("random")
settings.load_profile("suite")

SLOWEST_SHOWN = 10


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite",
        action="store_true",
        default=False,
        help="fill the expectations of *.test files in from what happens",
    )
    parser.addoption(
        "--full",
        action="store_true",
        default=False,
        help="run the tests marked `full` too, and every case of *.test files under four schedules and not two",
    )
    parser.addoption(
        "--all-schedules",
        action="store_true",
        default=False,
        help="run every case of *.test files under every schedule",
    )
    parser.addoption(
        "--schedule-seed", type=int, default=0, help="which sample of schedules the cases of *.test files run under"
    )


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        begin_run()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        end_run()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what `make fuzz` alone runs, unless it is named."""
    if config.getoption("--full") or any("::" in argument for argument in config.args):
        return
    left_out = [item for item in items if item.get_closest_marker("full")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not item.get_closest_marker("full")]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Where the time went: the modules that took longest, over all processes of the run."""
    seconds: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid.partition("::")[0]] += report.duration
    if len(seconds) > SLOWEST_SHOWN:
        terminalreporter.section(f"{seconds.total():.0f} s in {len(seconds)} modules; the slowest")
        for module, duration in seconds.most_common(SLOWEST_SHOWN):
            terminalreporter.write_line(f"{duration:7.1f} s  {module}")


@pytest.fixture(scope="session", autouse=True)
def _one_scratch_engine() -> Iterator[None]:
    """Applications are bound by one engine, as those of `ferris test` are."""
    with keep_scratch():
        yield


@pytest.fixture(scope="session")
def kafka() -> Cluster:
    """A real broker, shared by all tests of the run: topics are named uniquely."""
    return run_cluster()


@pytest.fixture
def topic_name(request: pytest.FixtureRequest) -> str:
    """A name that no other test uses."""
    return f"{re.sub(r'[^a-z0-9]+', '-', request.node.name.lower())[:60]}-{uuid.uuid4().hex[:8]}"
