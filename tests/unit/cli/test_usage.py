from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("answers", "agreed"),
    [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("", False), ("so\ny\n", True)],
)
def test_only_yes_agrees(answers: str, agreed: bool) -> None:
    code = "from ferrisstreams.cli.usage import confirm; print(confirm('sure?'))"
    asked = subprocess.run([sys.executable, "-c", code], input=answers, capture_output=True, text=True, check=True)
    assert asked.stdout == f"{agreed}\n"
    assert asked.stderr.startswith("sure? [y/N]: ")
