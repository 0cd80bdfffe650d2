"""Slurm's queue: the jobs that were submitted for a run, with their states, and Slurm's command-line clients.

RUN/logs/slurm/jobs.json records the last job of every stage.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.executor.job_states import (
    FAILED,
    OF_SACCT,
    OF_SQUEUE,
    Task,
    accounted,
    failed_of,
    nodes_of,
    state_of,
    tasks_by_job,
    waits_of,
)
from megatron_sbp.stages import record_names as records
from megatron_sbp.stages.run_folder import Run

TIMEOUT = 60
"""Seconds that a Slurm client may take: with the controller down it would hang for minutes."""

_STORED = ("stage", "id", "tasks", "recipe")
"""Of a job."""

_WAY_ON = "cancel the run's jobs with `scancel`, if there are any, then remove this file"

_LIVE = {
    "PENDING",
    "RUNNING",
    "CONFIGURING",
    "COMPLETING",
    "SUSPENDED",
    "REQUEUED",
    "REQUEUE_HOLD",
    "STOPPED",
    "RESIZING",
}

_OF_THE_USER = ("SLURM_CONF", "SLURM_CLUSTERS")
"""Variables that a user sets, unlike all others that begin with SLURM_ inside a job."""

OUTSIDE_OF_A_JOB = (
    '[ -z "${SLURM_JOB_ID:-}" ] || for name in ${!SLURM_@}; do '
    f'case $name in {" | ".join(_OF_THE_USER)}) ;; *) unset "$name" ;; esac; done'
)
"""`outside_of_a_job` for bash."""

_UNKNOWN = "unknown (Slurm does not answer)"
"""The state of every job while squeue is missing or fails."""


@dataclass(frozen=True)
class Job:
    """A submitted stage."""

    stage: str
    id: str
    """Slurm's job number; of the whole array where it is one."""
    tasks: int | None = None
    """Array tasks; None for a single job."""
    recipe: str = ""
    """Digest of the recipe that it runs (`submitted`)."""
    state: str = ""
    """As Slurm reports it: `RUNNING`, `PENDING (Dependency)`, or `COMPLETED 3, RUNNING 1` for an array. Not stored."""
    failed: tuple[int, ...] = ()
    """Array tasks that failed, ascending. Not stored."""
    nodes: tuple[str, ...] = ()
    """Where the job failed, or every task that did and was on a node; as Slurm writes them: `node[1-2]`. Not stored."""
    waits_for: tuple[str, ...] = ()
    """Jobs on which it still depends: `job 12 (judge)`. Not stored."""

    def __str__(self) -> str:
        tasks = f" (array of {self.tasks})" if self.tasks else ""
        waits = f"; waits for {', '.join(self.waits_for)}" if self.waits_for else ""
        return f"job {self.id}{tasks}, {self.stage}: {self.state}{waits}"


def jobs_of(run: Run) -> list[Job]:
    """The last job of every stage that was submitted, in order of submission, with its state now.

    The state comes from squeue, for jobs that it forgot from sacct where the site keeps accounts. It is
    "gone from the queue" when neither knows the job, and "unknown" when Slurm does not answer.
    """
    jobs = [Job(**{key: entry[key] for key in _STORED}) for entry in _own(run)]
    if not jobs:
        return []
    found = _tasks([job.id for job in jobs])
    if found is None:
        return [dataclasses.replace(job, state=_UNKNOWN) for job in jobs]
    stages = {job.id: job.stage for job in jobs}
    return [_with_state(job, found.get(job.id, []), stages) for job in jobs]


def _with_state(job: Job, tasks: list[Task], stages: dict[str, str]) -> Job:
    return dataclasses.replace(
        job,
        state=state_of(tasks, job.tasks is not None),
        failed=() if job.tasks is None else failed_of(tasks),
        nodes=nodes_of(tasks),
        waits_for=waits_of(tasks, stages),
    )


def _jobs_file(run: Run) -> Path:
    return run.job_logs / records.JOBS


def _own(run: Run) -> list[JsonObject]:
    """Entries of this run folder: one that was copied, perhaps to another cluster, has the numbers of others' jobs.

    Raises:
        InputError: the file is damaged.
    """
    file = _jobs_file(run)
    if not file.exists():
        return []
    try:
        entries = files.read_json(file)
    except InputError as error:
        raise InputError(f"{error.reason}; {_WAY_ON}", file=file) from error
    if not (isinstance(entries, list) and all(map(_is_entry, entries))):
        raise InputError(f"does not list jobs as `sbp submit` wrote them; {_WAY_ON}", file=file)
    same = {"folder": str(run.root), "cluster": cluster()} if entries else {}
    return [
        entry for entry in entries if all(entry.get(key) in (None, here) or here is None for key, here in same.items())
    ]


def _is_entry(value: object) -> bool:
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(key), str) for key in ("stage", "id", "recipe"))
        and isinstance(value.get("tasks", ""), int | None)
    )


def remember(run: Run, job: Job) -> None:
    """Records a job as the last one of its stage."""
    entry = {**{key: getattr(job, key) for key in _STORED}, "folder": str(run.root), "cluster": cluster()}
    files.write_json(_jobs_file(run), [*(other for other in _own(run) if other["stage"] != job.stage), entry])


def was_submitted(run: Run, stage: str, job: str) -> bool:
    """Whether a job is the last one that was submitted for a stage."""
    return any((entry["stage"], entry["id"]) == (stage, job) for entry in _own(run))


def is_live(job: Job) -> bool:
    """Whether a job, or a task of its array, is queued or running."""
    return any(part.split()[0] in _LIVE for part in job.state.split(", ") if part)


def will_fail(job: Job) -> bool:
    """Whether a task of an array has failed, or was canceled, while others are queued or running. The jobs that depend
    on it are still in the queue, and Slurm cancels them when the last task has ended."""
    return is_live(job) and any(part.split()[0] in (*FAILED, "CANCELLED") for part in job.state.split(", ") if part)


def live_jobs(run: Run) -> list[Job]:
    """The run's jobs that are queued or running. Without a submission Slurm is not asked.

    Raises:
        InputError: no Slurm here, or it does not answer."""
    jobs = jobs_of(run)
    if any(job.state == _UNKNOWN for job in jobs):
        try:
            client(["squeue", "--noheader", "--me"], {})
            reason = "did not answer just now"
        except InputError as error:
            reason = error.reason
        raise InputError(f"{reason}; whether jobs of this run are queued or running is unknown", file="squeue")
    return [job for job in jobs if is_live(job)]


def cancel(run: Run) -> list[Job]:
    """Cancels the run's jobs that are queued or running; finished work stays.

    Returns:
        The jobs that were canceled.

    Raises:
        InputError: no Slurm here, or it does not answer or refuses.
    """
    live = live_jobs(run)
    if live:
        client(["scancel", *(job.id for job in live)], {})
    return live


def _tasks(ids: list[str]) -> dict[str, list[Task]] | None:
    """Jobs and their tasks; None when squeue is missing or does not answer."""
    form = f"--format={OF_SQUEUE}"
    squeue = _try(["squeue", "--noheader", "--array", "--states=all", f"--jobs={','.join(ids)}", form])
    if squeue is None:
        return None
    found = tasks_by_job(squeue.splitlines())
    forgotten = [job for job in ids if job not in found]
    if forgotten and shutil.which("sacct"):
        found.update(accounted(_try(["sacct", "-n", "-X", "-P", "-j", ",".join(forgotten), "-o", OF_SACCT]) or ""))
    return found


def largest_array() -> int:
    """Largest index of an array at this site: MaxArraySize - 1 (Slurm's default is 1001)."""
    size = _configured("MaxArraySize")
    return 1000 if size is None else max(1, int(size) - 1)


def cluster() -> str | None:
    """Name of the cluster; None where Slurm does not tell."""
    return _configured("ClusterName")


def _configured(key: str) -> str | None:
    return configuration().get(key)


@functools.cache
def configuration() -> dict[str, str]:
    """Slurm's configuration as scontrol shows it; empty where it does not answer. A command asks once."""
    lines = (_try(["scontrol", "show", "config"]) or "").splitlines()
    pairs = (line.partition("=") for line in lines)
    return {name.strip(): value.strip() for name, _, value in reversed(list(pairs))}


def outside_of_a_job(environment: Mapping[str, str]) -> dict[str, str]:
    """Environment variables without those of the job in which this runs, such as an interactive one.

    sbatch passes them on, and srun in the new job takes those that the new one does not replace for its own: with
    SLURM_MEM_PER_NODE beside SLURM_MEM_PER_CPU, or SLURM_GPUS_PER_NODE without GPUs, it refuses to start the ranks.
    """
    if "SLURM_JOB_ID" not in environment:
        return dict(environment)
    return {name: value for name, value in environment.items() if not name.startswith("SLURM_") or name in _OF_THE_USER}


def client(command: list[str], variables: dict[str, str]) -> str:
    """Output of a Slurm client, run with additional environment variables, and without those of a surrounding job.

    Raises:
        InputError: it is missing, does not answer, or refuses.
    """
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT, env={**outside_of_a_job(os.environ), **variables}
        )
    except FileNotFoundError as error:
        raise InputError("not found: there is no Slurm here", file=command[0]) from error
    except subprocess.TimeoutExpired as error:
        raise InputError(f"gave no answer in {TIMEOUT} s: is Slurm's controller up?", file=command[0]) from error
    if result.returncode:
        raise InputError(
            f"{result.stderr.strip()} (status {result.returncode}); {shlex.join(command)}", file=command[0]
        )
    return result.stdout


def _try(command: list[str]) -> str | None:
    """Output of a client; None where it is missing or fails. Having forgotten a job is not a failure."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    if result.returncode and "Invalid job id" not in result.stderr:
        return None
    return result.stdout
