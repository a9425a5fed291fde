"""The entry point of the command, which sees to Ctrl-C before the rest is imported."""

from __future__ import annotations

import gc
import signal


def main() -> None:
    """Run the command. Ctrl-C ends it at once and without a traceback, until a command that must end in order says
    otherwise; whatever is cut short is made for that."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.disable()  # What is imported stays: looking through it takes a tenth of the start.
    from ferrisstreams.cli.main import main as run

    gc.enable()
    run()
