"""A job that failed with a fault is retried, a limited number of times, but not in a crash loop.

`sbp submit` sets SBP_FAULTS and SBP_MAX_RETRIES. A task of a job that ends with a fault, or with an unexpected
error (a CUDA error, a file system that fails), writes it to SBP_FAULTS/JOB.jsonl (JOB_TASK.jsonl in an array) and
exits with RETRY if another try is worthwhile; scripts/job.sh then puts the job back into the queue, so that the jobs
that depend on it wait. It does the same for a process that was killed, which cannot write anything itself.
"""

from __future__ import annotations

import re
import time

from megatron_sbp.base.errors import Fault
from megatron_sbp.base.progress import say
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.executor.job_environment import JobEnvironment
from megatron_sbp.executor.job_rows import append_row, file_of_job, read_rows
from megatron_sbp.stages import record_names as records

FAULT, RETRY = 1, 6
"""Exit statuses: a fault, and one after which the job is retried."""

_CHANGING = re.compile(r"0x[0-9a-f]+|\d+")
"""What differs in two messages of the same fault: process ids, addresses, ports, seconds."""


def at_unit(error: Exception, place: str) -> None:
    """Notes how far the work had come when an error ended it, unless the error says that itself."""
    if not getattr(error, "progress", ""):
        error.progress = place  # type: ignore[attr-defined]


def unexpected(error: Exception) -> Fault:
    """The fault behind an error that no part of the program expected."""
    told = str(error).strip().split("\n", 1)[0]
    return Fault(f"{type(error).__name__}{f': {told}' if told else ''}", progress=getattr(error, "progress", ""))


def status_after(fault: Fault, job: JobEnvironment) -> int:
    """Exit status of a process that ends with a fault.

    Args:
        fault: what happened.
        job: the environment of the process.

    Returns:
        RETRY inside a job that may be retried; FAULT outside of Slurm, after the last try, and when the job failed
        with the same fault before and has saved nothing since.
    """
    file, number, most = file_of_job(job, records.FAULT_ROWS), job.variables.get("SLURM_JOB_ID"), job.max_retries
    if file is None:
        return FAULT
    former = read_rows(file)
    now = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "node": "" if fault.node is None else fault.node or job.variables.get("SLURMD_NODENAME", ""),
        **({"cluster": name} if (name := job.variables.get("SLURM_CLUSTER_NAME")) else {}),
        "progress": fault.progress,
        "cause": fault.reason.split("\n", 1)[0],
    }
    append_row(file, now)
    if most == 0:
        return FAULT
    if former and _same(former[-1], now):
        say(f"job {number}: the same fault as last time, with nothing saved since; not retried")
        return FAULT
    if len(former) >= most:
        say(f"job {number}: failed {len(former) + 1} times; not retried (slurm.max_retries)")
        return FAULT
    say(f"job {number}: will be retried (retry {len(former) + 1} of at most {most})")
    return RETRY


def _same(one: JsonObject, other: JsonObject) -> bool:
    return one.get("progress") == other["progress"] and stable(one.get("cause")) == stable(other["cause"])


def stable(cause: object) -> str:
    """A cause without what differs in two messages of the same fault."""
    return _CHANGING.sub("N", str(cause))
