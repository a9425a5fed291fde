"""The end of a process, as the interpreter makes it, but for its modules.

Taking them to pieces takes a fifth of a second and copies, in a fork, all the memory that it shares.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

#: The exit code when output could not be written: what was asked for has failed.
_NOT_FLUSHED = 1


def exit_code(run: Callable[[], object]) -> int:
    """Run an entry point; what the interpreter would exit with."""
    try:
        run()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def leave(code: int) -> NoReturn:
    """End the process: threads are waited for, exit functions run and output is flushed."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            pass  # its reader has what it wanted
        except Exception as error:
            sys.stderr.write(f"{error}\n")
            code = _NOT_FLUSHED
    os._exit(code)
