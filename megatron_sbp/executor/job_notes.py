"""What `sbp status` says about a job that failed: its faults, and the end of its log."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.executor.job_rows import read_rows
from megatron_sbp.executor.slurm_queue import FAILED, Job, will_fail
from megatron_sbp.stages.run_folder import Run

LINES = 3
"""Of a log."""

WILL_FAIL = (
    "a task has failed: when the others have ended, Slurm cancels the jobs that depend on this one. Run `sbp submit` "
    "then, or `sbp cancel` and `sbp submit` to submit everything that is missing now"
)

_READ = 16 << 10


def notes_on(run: Run, job: Job) -> list[str]:
    """Lines on a job that has had faults or failed; none for others. Reads the ends of logs only.

    Args:
        run: the run.
        job: with its state.
    """
    folder = run.root / "logs" / "slurm"
    found = []
    files = [folder / "faults" / f"{job.id}.jsonl", *sorted((folder / "faults").glob(f"{job.id}_*.jsonl"))]
    for file in files:
        faults = read_rows(file)
        if faults:
            last, task = faults[-1], file.stem.partition("_")[2]
            where = ", ".join(str(last[name]) for name in ("node", "time", "progress") if last.get(name))
            count = f"{len(faults)} faults, the last" if len(faults) > 1 else "a fault"
            found.append(f"{f'task {task}: ' if task else ''}{count} ({where}): {last.get('cause')}")
    if any(state in job.state for state in FAILED):
        logs = [*folder.glob(f"*-{job.id}.out"), *folder.glob(f"*-{job.id}_*.out")]
        if logs:
            log = max(logs, key=lambda path: path.stat().st_mtime)
            found.append(f"{run.relative(log)} ends with:")
            found += [f"  {line}" for line in _last_lines(log)]
        if not will_fail(job):
            found.append("`sbp submit` with the same arguments submits it again; finished work is kept")
    if will_fail(job):
        found.append(WILL_FAIL)
    return found


def _last_lines(log: Path) -> list[str]:
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - _READ))
        lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return [line[:200] for line in lines[-LINES:]]
