"""Ends a rank: after a failure, at once and with its cause, never waiting for a process that may not respond.

Python joins the processes that a rank has forked when it exits: DataLoader workers, asynchronous checkpoint writers.
Megatron's loader workers ignore SIGTERM, so a scheduler's signal does not stop the data before the checkpoint; but
Python also ends them with SIGTERM, and then joins them without a timeout. A rank that raised an exception therefore
hung, and so did everything waiting for it. Here:

- processes that a rank forks have the stop signals blocked, and are killed by Linux when their rank dies;
- a rank that fails prints its traceback and one line with the cause, and leaves without Python's exit handlers;
- a process of a rank that dies is noticed even while the rank waits for it; torch's own way of noticing, an exception
  raised by a signal handler wherever the rank happens to be, can land in code that turns it into another error;
- a rank that has done its work leaves within EXIT_SECONDS.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import importlib
import multiprocessing.forkserver
import multiprocessing.process
import multiprocessing.resource_tracker
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from megatron_sbp.base import process_end
from megatron_sbp.base.processes import die_with_parent
from megatron_sbp.training.megatron.stop_signals import ASKING

CAUSE = "sbp: fault: "
"""Prefix of the line in which a failing rank reports the cause; the launcher searches for it."""

DONE = (0, 3)
"""Exit statuses of a rank that succeeded: the training is complete, or it saved a checkpoint."""

EXIT_SECONDS = 300.0
"""Time limit of Python's exit handlers after the work is done (Weights & Biases uploads in one of them)."""

NOTICED_SECONDS = 10.0
"""Time for a rank to notice the death of a checkpoint writer itself: its own message is more specific."""

LOADER_WORKER = "DataLoader worker"

PROBABLE = {signal.SIGKILL: "out of memory", signal.SIGBUS: "out of shared memory (/dev/shm)"}
"""Probable reason for killing a process."""

_leaving = threading.Event()
"""Set when the work is done or has failed: from then on, processes end intentionally."""


def prepare() -> None:
    """Called once, before a rank starts its first process."""
    os.register_at_fork(after_in_child=partial(_in_forked_process, os.getpid()))
    # Handlers run in reverse order: after torch's, which stops workers, before multiprocessing's, which joins them.
    atexit.register(_kill_processes)
    threading.Thread(target=_watch_processes, name="watch-processes", daemon=True).start()


def prepare_loaders() -> None:
    """Called before the first DataLoader: `_watch_processes` monitors its workers instead of torch's signal handler."""
    from torch.utils.data._utils import signal_handling

    signal_handling._set_SIGCHLD_handler = lambda: None


def prepare_saving() -> None:
    """Called before the first checkpoint on GPUs, where Megatron spawns a process to collect its writers' results.

    Unlike a rank's forked processes, it would be killed by a stop signal that a scheduler sends to all processes of a
    task, and the requested checkpoint would fail. It inherits the blocked signals.
    """
    module: Any = importlib.import_module(  # Any: a function of it is replaced
        "megatron.core.dist_checkpointing.strategies.filesystem_async"
    )
    megatrons = module.get_write_results_queue

    def get_write_results_queue(mp_mode: str = "spawn") -> queue.Queue[object]:
        with _blocked_signals():
            return megatrons(mp_mode)

    module.get_write_results_queue = get_write_results_queue


@contextlib.contextmanager
def _blocked_signals() -> Iterator[None]:
    """Processes started inside the block inherit the blocked signals."""
    multiprocessing.resource_tracker.ensure_running()  # first: it unblocks signals
    former = signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def prepare_asynchronous_saving(device: str) -> None:
    """Called before Megatron starts its checkpoint writer, which multiprocessing's fork server forks.

    The server and its children inherit the blocked signals: a scheduler that signals every process of a job step would
    end the writer in the middle of a checkpoint. The writer gets a thread that ends it together with its rank.

    Args:
        device: of the rank: auto, cpu, or cuda.
    """
    from megatron.core.dist_checkpointing.strategies.async_utils import PersistentAsyncCaller

    with _blocked_signals():
        multiprocessing.forkserver.ensure_running()
    PersistentAsyncCaller.async_loop = staticmethod(partial(checkpoint_writer, device))


def checkpoint_writer(device: str, *arguments: object) -> None:
    """Megatron's asynchronous checkpoint writer in a separate process, which ends with its rank."""
    threading.Thread(target=_end_with_rank, daemon=True).start()  # first: the imports take seconds
    from megatron_sbp.training.megatron import cpu

    cpu.install(device=device)
    from megatron.core.dist_checkpointing.strategies.async_utils import PersistentAsyncCaller

    PersistentAsyncCaller.async_loop(*arguments)


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
    _kill_processes()
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


def _in_forked_process(parent: int) -> None:
    if os.getppid() != parent:  # started by a forked process
        parent = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)
    die_with_parent(parent)


def _kill_processes() -> None:
    for process in multiprocessing.active_children():
        process.kill()


def _end_with_rank() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _watch_processes() -> None:
    """Ends the rank if one of its processes has ended abnormally without the rank noticing.

    It may be waiting for that process indefinitely, as Megatron does for its checkpoint writer.
    """
    while not _leaving.wait(0.5):
        for end in _watched.ended():
            if _leaving.wait(0 if end.role == LOADER_WORKER else NOTICED_SECONDS):
                return
            fail(str(end))


@dataclass(frozen=True)
class _AbnormalEnd:
    """Exit of a process of this rank."""

    role: str
    number: int
    status: int

    def __str__(self) -> str:
        return f"its {self.role} (pid {self.number}) {ending(self.status)}"


class _Watched:
    """The processes started by this rank, including ended ones."""

    def __init__(self) -> None:
        self._known: dict[int, multiprocessing.process.BaseProcess] = {}
        self._roles: dict[int, str] = {}

    def ended(self) -> list[_AbnormalEnd]:
        """Those that have ended abnormally."""
        # Not active_children(), which reaps the process.
        children = list(multiprocessing.process._children)  # type: ignore[attr-defined]
        self._known |= {child.pid: child for child in children if child.pid}
        found = []
        for number, child in list(self._known.items()):
            status = _exit_status(child)
            if status is None or number not in self._roles:  # a reaped process no longer has a name
                self._roles[number] = _role(child)
            if status == 0:
                self._known.pop(number, None)
            elif status is not None:
                found.append(_AbnormalEnd(self._roles[number], number, status))
        return found


_watched = _Watched()


def _role(child: multiprocessing.process.BaseProcess) -> str:
    """Purpose of a process, inferred from its type and the name of its main thread."""
    with contextlib.suppress(OSError):  # a reaped process
        if Path(f"/proc/{child.pid}/comm").read_text().strip() == "pt_data_worker":  # torch names them
            return LOADER_WORKER
    forked = type(child).__name__ in ("ForkProcess", "Process")
    return f"process {child.name}" if forked else "asynchronous checkpoint writer"


def _exit_status(child: multiprocessing.process.BaseProcess) -> int | None:
    """Exit status as in Popen.returncode, without reaping the process."""
    assert child.pid is not None
    try:
        end = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # already reaped, or a child of the fork server
        return child.exitcode
    if end is None:
        return None
    return end.si_status if end.si_code == os.CLD_EXITED else -end.si_status


def ending(status: int) -> str:
    """`was killed (SIGKILL), probably out of memory`, or `ended with status 1`, for a status as in Popen.returncode."""
    if status >= 0:
        return f"ended with status {status}"
    number = signal.Signals(-status)
    return f"was killed ({number.name})" + (f", probably {PROBABLE[number]}" if number in PROBABLE else "")
