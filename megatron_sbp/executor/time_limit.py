"""A job that used its time limit several times and saved nothing is not started again: another time would not help.

scripts/job.sh puts a job back into the queue when its time limit is near. Where a unit, or the start of a training run
and its first step, takes longer than the limit, that would repeat for `slurm.max_requeues` limits of all its nodes.
"""

from __future__ import annotations

import contextlib
import hashlib

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import duration
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.executor.job_environment import JobEnvironment
from megatron_sbp.executor.job_rows import append_row, file_of_job, read_rows
from megatron_sbp.stages import record_names as records
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage

MOST = 2
"""Time limits that a job may use in a row without saving anything."""


def check_progress(run: Run, stage: Stage, job: JobEnvironment) -> None:
    """Writes down what is saved as a job starts again; does nothing outside of jobs of `sbp submit`.

    FAULTS/JOB.limits has a line per such start, and one of job.sh for each time limit that came near. At the first
    start of a job the files of the stage are not listed: on a large corpus every task of an array would do that.

    Args:
        run: the run.
        stage: the stage that the job is about to do.
        job: the environment of the process.

    Raises:
        InputError: the job has used MOST time limits as long as this one, and what is saved is the same as before.
    """
    file, environment = file_of_job(job, records.LIMIT_ROWS), job.variables
    if file is None or environment.get("SLURM_RESTART_COUNT", "0") == "0":
        return
    begin, end = (environment.get(f"SLURM_JOB_{name}_TIME", "") for name in ("START", "END"))
    seconds = int(end) - int(begin) if begin.isdigit() and end.isdigit() else None
    start = {"saved": saved(run, stage), "seconds": seconds}
    if vain(read_rows(file), start) >= MOST:
        number = environment["SLURM_JOB_ID"]
        limit = "" if seconds is None else f" of {duration(seconds)}"
        raise InputError(
            f"job {number} used its time limit{limit} {MOST} times without saving anything: {stage.name} needs more "
            f"time until it saves something; submit it again with a longer limit (slurm.time, or slurm.stages)",
            file=run.recipe.source,
        )
    append_row(file, start)


def vain(rows: list[JsonObject], start: JsonObject) -> int:
    """How many time limits were used since what is saved has been as at this start.

    A longer limit than they had is a new beginning. Starts that ended otherwise, as by a preemption, do not count.
    """
    count, used = 0, False
    for row in reversed(rows):
        if "near_limit" in row:
            used = True
            continue
        shorter = start["seconds"] and (row.get("seconds") or 0) < start["seconds"]
        if row.get("saved") != start["saved"] or shorter:
            break
        count += used
        used = False
    return count


def saved(run: Run, stage: Stage) -> str:
    """A digest of the names and sizes of what the stage has saved, finished units and work in progress."""
    found = hashlib.sha256()
    for root in (run.root, *run.work_folders(stage.name)):
        paths = [path for pattern in stage.saves(run) for path in root.glob(pattern)]
        paths += [below for path in paths for below in path.rglob("*")]
        for path in sorted(path for path in paths if files.PARTIAL_SUFFIX not in path.name):
            with contextlib.suppress(OSError):
                if path.is_file():
                    found.update(f"{path.relative_to(run.root)} {path.stat().st_size}\n".encode())
    return found.hexdigest()
