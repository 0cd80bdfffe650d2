"""Verbs of `sbp` that do work: the whole run, a stage, Slurm jobs, a rehearsal."""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import time
from typing import TYPE_CHECKING

from megatron_sbp.cli.show_verbs import print_results
from megatron_sbp.executor.claim import claim, write_resolved
from megatron_sbp.stages.run_folder import Run

if TYPE_CHECKING:
    from megatron_sbp.stages.stage import Stage


def run_here(run: Run, graph: list[Stage], options: argparse.Namespace) -> int:
    """`sbp run`: everything that is missing, on this machine."""
    from megatron_sbp.base.stop_file import StopFile
    from megatron_sbp.executor.local import run_all
    from megatron_sbp.executor.submitted import copy_of, keep

    StopFile(run.stop_file).refuse()
    claim(run)

    def begin() -> None:
        keep(run)
        note_recipe(run)

    words = [str(copy_of(run))]  # from the file itself, later stages would read what was edited since
    allowed = {"discard": options.discard, "repair": options.repair}
    run_all(run, graph, words, until=options.until, jobs=options.jobs, begins=begin, **allowed)
    if run.results_file.exists() and options.until in (None, graph[-1].name):
        print_results(run)
    return 0


def submit_jobs(run: Run, graph: list[Stage], options: argparse.Namespace) -> int:
    """`sbp submit`: everything that is missing, as Slurm jobs."""
    from megatron_sbp.base.stop_file import StopFile
    from megatron_sbp.executor.job_environment import JobEnvironment
    from megatron_sbp.executor.slurm import submit

    StopFile(run.stop_file).refuse()
    if not options.dry_run:
        claim(run)
    note = functools.partial(note_recipe, run)
    allowed = {"discard": options.discard, "repair": options.repair}
    command = JobEnvironment.of(os.environ).command
    submit(
        run, options.recipe, options.overrides, graph, dry_run=options.dry_run, command=command, begins=note, **allowed
    )
    return 0


def run_stage(run: Run, stage: Stage, graph: list[Stage], options: argparse.Namespace) -> int:
    """`sbp STAGE`: the units of one stage, or a shard of them."""
    from megatron_sbp.base.progress import say
    from megatron_sbp.base.stop_file import StopFile
    from megatron_sbp.executor.job_environment import JobEnvironment
    from megatron_sbp.executor.runner import StageRunner
    from megatron_sbp.executor.time_limit import check_progress
    from megatron_sbp.training.launch import Unfinished

    if getattr(options, "launcher", None) == "srun":
        from megatron_sbp.executor.slurm_launch import srun_words
        from megatron_sbp.executor.slurm_request import recipe_of_job

        run = Run.of(recipe_of_job(run, stage))
        stage = stage.under(srun_words(run.recipe))
    claim(run)
    stop = StopFile(run.stop_file)
    stop.refuse()
    environment = JobEnvironment.of(os.environ)
    check_progress(run, stage, environment)
    runner = StageRunner(run, stage, graph, discard=bool(options.discard), repair=bool(options.repair))
    # The ranks of a training run save a checkpoint first.
    trains = stage.device_for(run) == "training"
    try:
        with contextlib.nullcontext() if trains else stop.interrupts():
            closed = runner.execute(options.shard or (1, 1))
    except Unfinished as error:
        say(f"sbp: {error}")
        stop.refuse()  # else a Slurm job would go back into the queue
        return 3
    if runner.had_nothing_to_do and not options.part_of_run:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(runner.manifest_file.stat().st_mtime))
        say(f"{stage.name}: already complete since {when}; it runs again if its settings or inputs change")
    if closed:
        from megatron_sbp.executor.reopening import submit_reopened

        submit_reopened(run, graph, stage, environment)
    elif not options.part_of_run:
        say(f"{stage.name}: this shard is complete, others are not: {runner.why()}")
    return 0


def rehearse(real: Run, options: argparse.Namespace) -> int:
    """Runs or submits a rehearsal: a run of its own, in a folder beside the real run folder."""
    from megatron_sbp.base import files
    from megatron_sbp.executor.job_environment import JobEnvironment
    from megatron_sbp.executor.local import run_all
    from megatron_sbp.executor.permissions import ALL
    from megatron_sbp.executor.preflight import check_inputs
    from megatron_sbp.executor.slurm import submit
    from megatron_sbp.recipe import dump_recipe
    from megatron_sbp.rehearsal.derive import derive, write
    from megatron_sbp.rehearsal.site import cluster, this_machine
    from megatron_sbp.rehearsal.table import format_changes
    from megatron_sbp.stages.graph import all_stages

    by_slurm = options.verb == "submit"
    folder = real.root.parent / "rehearsal" / (real.root.name + ("-slurm" if by_slurm else ""))
    rehearsal = derive(real.recipe, folder, cluster(real.recipe) if by_slurm else this_machine())
    run = Run.of(rehearsal.recipe)
    graph = all_stages(run.recipe)
    discard = [ALL]  # even the costly stages take only minutes here
    command = JobEnvironment.of(os.environ).command
    table = format_changes(rehearsal, len(graph))
    if options.dry_run and not by_slurm:
        print(table)
        print(f"# {rehearsal.file} would be:\n{dump_recipe(run.recipe)}", end="")
        return 0
    if options.dry_run:
        print("".join(f"# {line}\n" for line in table.splitlines()), end="")
        submit(run, rehearsal.file, [], graph, dry_run=True, discard=discard, command=command)
        return 0
    print(table, flush=True)
    write(rehearsal)
    check_inputs(run.recipe)
    claim(run)
    note_recipe(run)
    files.write_text(run.root / "rehearsal.txt", table)
    if by_slurm:
        submit(run, rehearsal.file, [], graph, discard=discard, asked=False, command=command)
        print(f"\nA rehearsal, in {run.root}: `sbp status {run.root}`")
        return 0
    run_all(run, graph, [str(rehearsal.file)], until=options.until, discard=discard)
    if run.results_file.exists() and options.until in (None, graph[-1].name):
        print_results(run)
        print(f"\nThat was a rehearsal: its figures mean nothing. What was not rehearsed: {run.root / 'rehearsal.txt'}")
    return 0


def note_recipe(run: Run) -> None:
    """Writes the recipe that the run folder was last run with, and its plan, into the folder."""
    from megatron_sbp.base import files
    from megatron_sbp.executor.preflight import plan_run

    write_resolved(run)
    files.write_json(run.plan_file, plan_run(run))


def cancel_jobs(run: Run) -> int:
    """`sbp cancel`."""
    from megatron_sbp.executor.slurm_queue import cancel

    jobs = cancel(run)
    for job in jobs:
        print(f"canceled: job {job.id}, {job.stage}")
    print(f"{len(jobs)} jobs canceled; `sbp submit` continues the run")
    return 0
