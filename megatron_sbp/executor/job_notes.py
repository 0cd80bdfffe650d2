"""The lines of `sbp status` on a failed job: its faults, and the end of its log."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.executor.job_rows import read_rows
from megatron_sbp.executor.job_states import FAILED
from megatron_sbp.executor.slurm_queue import Job, will_fail
from megatron_sbp.executor.task_numbers import shown
from megatron_sbp.stages import record_names as records
from megatron_sbp.stages.run_folder import Run

LINES = 3
"""Of a log."""

WILL_FAIL = (
    "a task has failed: when the others have ended, Slurm cancels the jobs that depend on this one. Run `sbp submit` "
    "then, or `sbp cancel` and `sbp submit` to submit everything that is missing now"
)

TIMED_OUT = (
    "its time limit ended it before it was back in the queue; what it had finished or saved is kept. A longer limit: "
    "slurm.time, or time in slurm.stages"
)

OUT_OF_MEMORY = (
    "it held more memory than it requested, and Slurm ended it; what it had finished or saved is kept. More memory: "
    "slurm.memory, or memory in slurm.stages"
)

_OF_MEMORY = ("oom_kill event", "oom-kill event", "xceeded job memory limit")
"""What Slurm writes into a log where it ends a job for its memory; without cgroups, its state is only FAILED."""

_CUT_OFF = ("TIMEOUT", "DEADLINE", "PREEMPTED")
"""States of a job that Slurm ended before it was done."""

_MOST_FAULTS = 10
"""Tasks whose faults are shown: those with the latest ones."""

_MOST_NODES = 5

_READ = 16 << 10


def notes_on(run: Run, job: Job) -> list[str]:
    """Lines on a job that has had faults or failed; none for others. Reads the ends of logs only.

    Args:
        run: the run.
        job: with its state.
    """
    folder = run.job_logs
    found = []
    faults = _faults(run.job_faults, job)
    for task, rows in faults[-_MOST_FAULTS:]:
        last = rows[-1]
        where = ", ".join(str(last[name]) for name in ("node", "time", "progress") if last.get(name))
        count = f"{len(rows)} faults, the last" if len(rows) > 1 else "a fault"
        found.append(f"{f'task {task}: ' if task else ''}{count} ({where}): {last.get('cause')}")
    if len(faults) > _MOST_FAULTS:
        found.append(f"{len(faults) - _MOST_FAULTS} more tasks had faults ({run.relative(folder / 'faults')})")
    if any(state in job.state for state in FAILED):
        # A time limit, or another job's precedence, is no failure of the node.
        verb = "failed" if any(state in job.state for state in FAILED if state not in _CUT_OFF) else "ended"
        if job.failed:
            found.append(f"{verb}: task{'s' * (len(job.failed) > 1)} {shown(job.failed)}{_on(job)}")
        elif job.nodes:
            found.append(f"{verb}{_on(job)}")
        if "TIMEOUT" in job.state:
            found.append(TIMED_OUT)
        lines: list[str] = []
        logs = [file for pattern in records.logs_of(job.id) for file in folder.glob(pattern)]
        if logs:
            failed = {f"{job.id}_{task}" for task in job.failed}
            of_failed = [log for log in logs if log.stem.rpartition("-")[2] in failed]
            log = max(of_failed or logs, key=lambda path: path.stat().st_mtime)
            found.append(f"{run.relative(log)} ends with:")
            lines = _last_lines(log)
            found += [f"  {line}" for line in lines]
        if "OUT_OF_MEMORY" in job.state or any(words in line for line in lines for words in _OF_MEMORY):
            found.append(OUT_OF_MEMORY)
        if not will_fail(job):
            found.append("`sbp submit` with the same arguments submits it again; finished work is kept")
    if will_fail(job):
        found.append(WILL_FAIL)
    return found


def _on(job: Job) -> str:
    """Where it failed, those nodes first on which the most tasks did."""
    counts = Counter(job.nodes)
    several = len(job.nodes) > 1
    nodes = [f"{node} ({count})" if several else node for node, count in counts.most_common(_MOST_NODES)]
    more = [f"{len(counts) - _MOST_NODES} more"] if len(counts) > _MOST_NODES else []
    return f" on {', '.join([*nodes, *more])}" if nodes else ""


def _faults(folder: Path, job: Job) -> list[tuple[str, list[JsonObject]]]:
    """Tasks with their faults, in the order of the latest ones. The task is empty without an array."""
    files = [file for pattern in records.faults_of(job.id) for file in folder.glob(pattern)]
    found = [(file.stem.partition("_")[2], read_rows(file)) for file in files]
    return sorted((entry for entry in found if entry[1]), key=lambda entry: (str(entry[1][-1].get("time")), entry[0]))


def _last_lines(log: Path) -> list[str]:
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - _READ))
        lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return [line[:200] for line in lines[-LINES:]]
