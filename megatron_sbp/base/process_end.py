"""Exits after atexit handlers without the interpreter's final cleanup.

Python would search a million objects of torch and transformers for cycles, several times, just before their memory is
freed: up to a third of a short process's time. Skipping only the search makes extension modules report leaks.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import NoReturn


def end(status: int) -> NoReturn:
    """Ends the process as `sys.exit` would: waits for threads, runs exit handlers, flushes; then leaves at once."""
    threading._shutdown()  # type: ignore[attr-defined]  # as multiprocessing ends what it has forked
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except (OSError, ValueError, AttributeError):
        sys.exit(status)  # a closed stream: Python itself would report it
    os._exit(status)
