"""What is noted about a Slurm job, a JSON row per event, in a file beside those of the run's other jobs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path

from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.executor.job_environment import JobEnvironment


def file_of_job(job: JobEnvironment, suffix: str) -> Path | None:
    """FAULTS/JOB and the suffix, JOB_TASK in an array; None outside of jobs of `sbp submit`."""
    if job.faults is None or not job.variables.get("SLURM_JOB_ID"):
        return None
    return job.faults / f"{job_of(job.variables)}{suffix}"


def job_of(environment: Mapping[str, str]) -> str:
    """The job, or the task of an array, as Slurm's clients take it. One task of an array has the number of the array:
    with that alone, they would act on all of its tasks."""
    array, task = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array else environment.get("SLURM_JOB_ID", "")


def read_rows(file: Path) -> list[JsonObject]:
    """The rows of a job, the last one last; damaged lines are left out."""
    try:
        lines = file.read_bytes().splitlines()
    except OSError:
        return []
    rows = []
    for line in lines:
        with contextlib.suppress(ValueError):
            rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict)]


def append_row(file: Path, row: Mapping[str, JsonValue]) -> None:
    """Adds a row, if the disk has room for it."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "a") as rows:
            rows.write(json.dumps(row) + "\n")
