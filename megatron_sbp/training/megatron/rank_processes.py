"""The processes that a rank starts: they die with it, and those that have ended abnormally are found."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.process
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from megatron_sbp.base.processes import die_with_parent
from megatron_sbp.training.megatron.stop_signals import ASKING

LOADER_WORKER = "DataLoader worker"

PROBABLE = {signal.SIGKILL: "out of memory", signal.SIGBUS: "out of shared memory (/dev/shm)"}
"""Probable reason for killing a process."""


def in_forked_process(parent: int) -> None:
    """Called in every forked process: blocks the stop signals, and ties its life to the rank with this id."""
    if os.getppid() != parent:  # started by a forked process
        parent = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)
    die_with_parent(parent)


def kill_processes() -> None:
    """Kills all processes of this rank."""
    for process in multiprocessing.active_children():
        process.kill()


@dataclass(frozen=True)
class _AbnormalEnd:
    """Exit of a process of this rank."""

    role: str
    number: int
    status: int

    def __str__(self) -> str:
        return f"its {self.role} (pid {self.number}) {ending(self.status)}"


class WatchedProcesses:
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
