"""Determines why a training run failed from the exit status and output of the process that failed first."""

from __future__ import annotations

import errno
import os
import re
import signal
from pathlib import Path

from megatron_sbp.base.errors import NO_ROOM, Fault, InputError
from megatron_sbp.base.progress import say
from megatron_sbp.checkpoint import tracker
from megatron_sbp.training.megatron.rank_end import CAUSE
from megatron_sbp.training.megatron.rank_processes import ending
from megatron_sbp.training.ranks import Rank

RANK_ENDED = re.compile(r"sbp: rank (\d+) on (\S+) ended with status (\d+) at ([\d.]+)")
"""The line that rank.sh prints for a failed rank."""

SHARED_MEMORY = re.compile(r"/torch_\d|/dev/shm")
"""Shared memory, through which loader workers pass tensors, in the message of an error."""

SEMAPHORE = "_multiprocessing.SemLock("
"""What was called where a semaphore of loader workers, a file in shared memory, finds no room; the message is that of a
full disk."""

SAID_WRONG = re.compile(r"(\S+): error: (.*)").match
"""Invalid input, as reported by a rank (`sbp: error: ...`) or Megatron's command line (`pretrain.py: error: ...`)."""


TIMED_OUT = re.compile(r"Timed out waiting \d+ *ms|[Cc]ollective operation timeout")
"""Timeouts of collective operations, as reported by gloo and NCCL's watchdog."""


NOTABLE = re.compile("|".join([RANK_ENDED.pattern, re.escape(CAUSE), TIMED_OUT.pattern]))
"""Lines that show why a training run failed. Other ranks may write much more output before srun terminates them."""


def first_end(failed: Rank) -> tuple[str, int, str]:
    """Name, exit status as in Popen.returncode, and node of the rank that failed first.

    Args:
        failed: that rank, or srun, whose output contains the lines of rank.sh.
    """
    ends = sorted(
        (float(found[4]), found[1], int(found[3]), found[2])
        for found in map(RANK_ENDED.search, [*failed.notices, *failed.tail])
        if found
    )
    if not ends:
        return failed.name, failed.status or 0, ""
    _, number, status, node = ends[0]
    return f"rank {number}", 128 - status if status > 128 else status, node  # a signal, as in a shell's exit status


def was_stopped(failed: Rank) -> bool:
    """Whether a training run failed because it was asked to stop, and not through a fault.

    A rank without a signal handler yet is ended by SIGTERM. When a job is canceled or preempted, Slurm kills all of its
    processes soon after the signal, and no rank.sh remains to report how its rank ended.

    Args:
        failed: as for `first_end`.
    """
    _, status, node = first_end(failed)
    by_slurm = failed.name == "srun" and not node and status in _ENDED_BY_SLURM
    return status == -signal.SIGTERM or by_slurm


_ENDED_BY_SLURM = (-signal.SIGTERM, -signal.SIGKILL, 128 + signal.SIGTERM, 128 + signal.SIGKILL)
"""Exit statuses of srun if it or its tasks were killed."""


def verdict(failed: Rank, stage: str, folder: Path, log: Path, count: int) -> Exception:
    """The exception for a failed training run.

    Args:
        failed: the process that failed first.
        stage: name of the stage.
        folder: the training run's folder.
        log: the log file.
        count: number of ranks.
    """
    (name, status, node), lines = first_end(failed), [*failed.notices, *failed.tail]
    if status == 2:
        said = [found[2] for found in map(SAID_WRONG, lines) if found and found[1] != "srun"]
        if said:
            return InputError(said[0])
    causes = [line.split(CAUSE, 1)[1] for line in lines if CAUSE in line]
    own = [cause for cause in causes if cause.startswith(f"{name}: ")] or causes
    where = f" on {node}" if node else ""
    text = f"{stage}: {name} of {count}{where} {ending(status)}"
    if status >= 0 and own:
        text = f"{stage}{where}: {own[0]}".rstrip(". ")
    full_lines = [line for line in lines if os.strerror(errno.ENOSPC) in line]
    shared = any(map(SHARED_MEMORY.search, full_lines)) or (full_lines and any(SEMAPHORE in line for line in lines))
    full = next((number for number in NO_ROOM if any(os.strerror(number) in line for line in lines)), None)
    if shared:
        full = None
        text += (
            "; shared memory is full: make /dev/shm larger (docker --shm-size, a bind mount), or use fewer num-workers"
        )
    if full is None and not shared and status != -signal.SIGKILL and _is_full(folder):
        full = errno.ENOSPC
    if full is not None:
        say(text)
        return OSError(full, os.strerror(full), str(folder))
    hung = status != -signal.SIGKILL and any(TIMED_OUT.search(line) for line in lines)
    if hung:  # reported by the healthy ranks
        text += "; another rank hangs, or is slower than the timeout (training.megatron: distributed-timeout-minutes)"
    words = [line for line in failed.tail if line.strip() and CAUSE not in line and not RANK_ENDED.search(line)]
    end = "".join(f"\n  {line}" for line in words[-12:])
    saved = tracker.read(folder)
    again = "starts over: nothing was saved yet" if saved is None else "continues from the last checkpoint"
    message = f"{text}.\nThe same command {again}. The end of its output:{end}"
    progress = "no checkpoint yet" if saved is None else f"checkpoint {saved}"
    return Fault(message, file=log, progress=progress, node=None if hung else node)


def _is_full(folder: Path) -> bool:
    """Whether the file system is full; the output of a failure often does not mention it."""
    try:
        stat = os.statvfs(folder)
    except OSError:
        return False
    free = stat.f_bfree if os.geteuid() == 0 else stat.f_bavail  # some blocks are reserved for root
    return stat.f_blocks > 0 and free * stat.f_frsize < 1 << 16
