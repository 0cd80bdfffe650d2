"""Slurm jobs whose stage finds that an earlier one has more to do: too little text was left, so more is generated."""

from __future__ import annotations

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import say
from megatron_sbp.executor.job_environment import JobEnvironment
from megatron_sbp.executor.slurm import submit_again
from megatron_sbp.executor.slurm_queue import was_submitted
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage


def submit_reopened(run: Run, graph: list[Stage], stage: Stage, environment: JobEnvironment) -> None:
    """Submits the earlier stage, this one, and those between them again, if this one finds that there is more to do.

    Jobs that depend on them wait for the new ones. Outside of a job of `sbp submit` this does nothing: `sbp run` goes
    back to the earlier stage itself, and a stage run by itself prints a message.

    Args:
        run: the run.
        graph: all its stages.
        stage: one of them, which is complete.
        environment: of the process.
    """
    job = environment.variables.get("SLURM_ARRAY_JOB_ID") or environment.variables.get("SLURM_JOB_ID")
    if job is None or not was_submitted(run, stage.name, job):
        return
    earlier = stage.reopens(run)
    if earlier is None:
        return
    names = [each.name for each in graph]
    again = names[names.index(earlier) : names.index(stage.name) + 1]
    try:
        submit_again(run, graph, again, job=job, command=environment.command)
    except InputError as error:
        say(f"{stage.name}: {earlier} has more to do, but it cannot be submitted from here; run `sbp submit`: {error}")
