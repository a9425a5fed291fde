"""Options of all tests."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite",
        action="store_true",
        default=False,
        help="fill the expectations of *.test files in from what happens",
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
