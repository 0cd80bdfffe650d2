"""Ends a rank: after a failure, at once and with its cause, never waiting for a process that may not respond.

Python joins the processes that a rank has forked when it exits: DataLoader workers, asynchronous checkpoint writers.
Megatron's loader workers ignore SIGTERM, so a scheduler's signal does not stop the data before the checkpoint; but
Python also ends them with SIGTERM, and then joins them without a timeout. A rank that raised an exception therefore
hung, and so did everything waiting for it. Here, and in rank_processes.py:

- processes that a rank forks have the stop signals blocked, and are killed by Linux when their rank dies;
- a rank that fails prints its traceback and one line with the cause, and leaves without Python's exit handlers;
- a batch that a loader worker cannot hand over, as without room in /dev/shm, ends the worker;
- a process of a rank that dies is noticed even while the rank waits for it; torch's own way of noticing, an exception
  raised by a signal handler wherever the rank happens to be, can land in code that turns it into another error;
- a rank that has done its work leaves within EXIT_SECONDS.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import multiprocessing.queues
import os
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from megatron_sbp.base import process_end
from megatron_sbp.training.megatron.rank_processes import (
    LOADER_WORKER,
    WatchedProcesses,
    in_forked_process,
    kill_processes,
)

CAUSE = "sbp: fault: "
"""Prefix of the line in which a failing rank reports the cause; the launcher searches for it."""

DONE = (0, 3)
"""Exit statuses of a rank that succeeded: training is complete, or it saved a checkpoint."""

EXIT_SECONDS = 300.0
"""Time limit of Python's exit handlers after the work is done (Weights & Biases uploads in one of them)."""

NOTICED_SECONDS = 10.0
"""Time for a rank to notice the death of a checkpoint writer itself: its own message is more specific."""

_leaving = threading.Event()
"""Set when the work is done or has failed: from then on, processes end intentionally."""

_watched = WatchedProcesses()


def prepare() -> None:
    """Called once, before a rank starts its first process."""
    os.register_at_fork(after_in_child=partial(in_forked_process, os.getpid()))
    # Handlers run in reverse order: after torch's, which stops workers, before multiprocessing's, which joins them.
    atexit.register(kill_processes)
    threading.Thread(target=_watch_processes, name="watch-processes", daemon=True).start()


def prepare_loaders() -> None:
    """Called before the first DataLoader: `_watch_processes` monitors its workers instead of torch's signal handler,
    and a batch that cannot be sent ends its process. multiprocessing would print a traceback and drop it, and the rank
    wait for it forever."""
    from torch.utils.data._utils import signal_handling

    signal_handling._set_SIGCHLD_handler = lambda: None
    multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(_not_sent)  # type: ignore[attr-defined]


def _not_sent(error: Exception, item: object) -> NoReturn:
    traceback.print_exception(error)
    fail(summary(error))


def run_to_end(main: Callable[[], int]) -> NoReturn:
    """Runs a rank and ends the process with its status.

    Args:
        main: the rank's work; returns the exit status.
    """
    try:
        status = main()
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else int(left.code is not None)
        if status not in DONE:
            leave(status)
    except BaseException as error:
        # Not after this block: leaving it frees the loaders, whose destructors join their workers.
        traceback.print_exc()
        killed = [end for end in _watched.ended() if end.status < 0]  # then the exception is a consequence
        fail(str(killed[0]) if killed else summary(error))
    if status not in DONE:
        leave(status)
    _leaving.set()
    faulthandler.dump_traceback_later(EXIT_SECONDS, exit=True)
    process_end.end(status)


def fail(cause: str) -> NoReturn:
    """Prints the cause, and leaves with status 1."""
    rank = os.environ.get("RANK", "0")
    print(f"{CAUSE}rank {rank}: {cause}", file=sys.stderr, flush=True)
    leave(1)


def leave(status: int) -> NoReturn:
    """Ends this process and its forked processes immediately."""
    _leaving.set()
    kill_processes()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(status)


def summary(error: BaseException) -> str:
    """One-line cause: the root exception with its first line and, if there are several, its last.

    Exceptions of other processes contain their traceback in the message; the last line is the exception itself.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    text = " ".join([lines[0], lines[-1]] if len(lines) > 1 else lines)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _watch_processes() -> None:
    """Ends the rank if one of its processes has ended abnormally without the rank noticing.

    It may be waiting for that process indefinitely, as Megatron does for its checkpoint writer.
    """
    while not _leaving.wait(0.5):
        for end in _watched.ended():
            if _leaving.wait(0 if end.role == LOADER_WORKER else NOTICED_SECONDS):
                return
            fail(str(end))
