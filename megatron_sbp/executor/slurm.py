"""The stage graph as Slurm jobs: one job per stage, an array where it is sharded, chained by dependencies.

The jobs are the batch scripts in scripts/, which can be read, copied, edited and submitted by hand. Submitted jobs are
recorded (`slurm_queue`), so that a second call repeats neither finished stages nor those in the queue.
"""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.locks import locked
from megatron_sbp.base.progress import say
from megatron_sbp.executor.failing_nodes import excluding, failing_nodes
from megatron_sbp.executor.job_notes import WILL_FAIL
from megatron_sbp.executor.needed_jobs import complete_stages
from megatron_sbp.executor.permissions import Permissions
from megatron_sbp.executor.slurm_launch import SCRIPTS, variables_of
from megatron_sbp.executor.slurm_queue import (
    OUTSIDE_OF_A_JOB,
    Job,
    client,
    cluster,
    largest_array,
    live_jobs,
    remember,
    will_fail,
)
from megatron_sbp.executor.slurm_request import (
    array_before,
    array_of,
    asked_of,
    check_gpus,
    options_of,
    planned_units,
    script_of,
)
from megatron_sbp.executor.state import StageState
from megatron_sbp.executor.submitted import differences, keep
from megatron_sbp.stages import record_names as records
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage

_IMPOSSIBLE = "node configuration is not available"
"""sbatch's message for a job that can never run."""


def submit(
    run: Run,
    recipe_path: Path | str,
    overrides: list[str],
    graph: list[Stage],
    *,
    dry_run: bool = False,
    discard: Sequence[str] = (),
    repair: Sequence[str] = (),
    asked: bool = True,
    command: str | None = None,
    begins: Callable[[], None] = lambda: None,
) -> list[Job]:
    """Submits every stage that is not finished. Jobs read a copy of the recipe as it is now; of two submissions at the
    same time, the second waits and finds the jobs of the first in the queue.

    Args:
        run: The run.
        recipe_path: The recipe file that the jobs read.
        overrides: `key=value` words for the jobs.
        graph: All stages, each after those that it reads from.
        dry_run: Print the commands as a shell script and submit nothing; needs no Slurm.
        discard: Stages whose costly outputs may be replaced; `all` means every stage.
        repair: Stages that may continue from the intact part of damaged outputs.
        asked: Whether the user gave `discard` and `repair`, and is told which jobs in the queue do not get them.
        command: What runs `sbp` in the jobs, in words quoted for a shell; None means the package of this process.
        begins: Called once, before the first job is submitted, unless this is a dry run or a job is refused.

    Returns:
        The jobs submitted by this call.

    Raises:
        InputError: no Slurm here, or Slurm refuses a job (with its message), or cannot list the run's earlier jobs; or
            a job would end at once because costly work would be discarded, or is damaged, and --discard was not given.
    """
    allowed = Permissions(discard, repair, asked)
    if dry_run:
        words = [str(Path(recipe_path).resolve()), *overrides]
        return _submit(run, words, graph, kept=None, allowed=allowed, command=command, begins=begins)
    with locked(run.job_logs / records.SUBMIT_LOCK, "submit"):
        kept = keep(run)
        return _submit(run, [str(kept)], graph, kept=kept, allowed=allowed, command=command, begins=begins)


def submit_again(
    run: Run, graph: list[Stage], names: Collection[str], *, job: str, command: str | None = None
) -> list[Job]:
    """Submits stages of a run again from a job of the last of them, and makes the jobs that read from them wait.

    Args:
        run: The run.
        graph: All stages.
        names: The stages; of these, the ones that are not finished get a job.
        job: Slurm's number of the job in which this runs; it does not count as queued.
        command: See `submit`.

    Returns:
        The jobs submitted.

    Raises:
        InputError: no Slurm here, or Slurm refuses a job.
    """
    with locked(run.job_logs / records.SUBMIT_LOCK, "submit"):
        kept = keep(run)
        allowed = Permissions()
        return _submit(run, [str(kept)], graph, kept=kept, allowed=allowed, command=command, only=names, job=job)


def _submit(
    run: Run,
    words: list[str],
    graph: list[Stage],
    *,
    kept: Path | None,
    allowed: Permissions,
    command: str | None,
    begins: Callable[[], None] = lambda: None,
    only: Collection[str] | None = None,
    job: str | None = None,
) -> list[Job]:
    """Submits what is not finished and not in the queue.

    Args:
        run: the run.
        words: recipe and overrides of the jobs.
        graph: all stages.
        kept: the copy of the recipe that the jobs read; None only prints the commands.
        allowed: what stages may do with earlier work; passed on to their jobs.
        command: see `submit`.
        begins: called when nothing is refused.
        only: the stages that may get a job; None means all.
        job: number of the job in which this runs, which does not count as queued.
    """
    dry_run = kept is None
    live = {} if dry_run else {each.stage: each for each in live_jobs(run) if each.id != job}
    states = {
        stage.name: StageState(
            run,
            stage,
            graph,
            discard=allowed.discards(stage.name),
            repair=allowed.repairs(stage.name),
            reads_data=False,
        )
        for stage in graph
    }
    complete, fingerprints = complete_stages(states, live, dry_run)
    check_gpus(run, [stage for stage in graph if stage.name not in complete and stage.name not in live])
    log_folder = run.job_logs
    variables = {**variables_of(run.recipe, command), "SBP_FAULTS": str(run.job_faults)}
    if job is not None:  # scripts/job.sh has set these for this job
        variables.update(OMP_NUM_THREADS="", RAYON_NUM_THREADS="")
    queued: dict[str, str] = {}  # job numbers by stage; in a dry run the script's variables, quoted for its shell
    if dry_run:
        print(f"mkdir -p {shlex.quote(str(log_folder))}")
        print(OUTSIDE_OF_A_JOB)
        for name, value in variables.items():
            print(f"export {name}={shlex.quote(value)}")
    else:
        begins()
        log_folder.mkdir(parents=True, exist_ok=True)
    largest = largest_array()
    failing = failing_nodes(run.job_faults, run.recipe.slurm.exclude_after, cluster())
    for node, count in failing.items():
        _note(
            f"{node} is excluded: {count} different faults of this run were on it (slurm.exclude_after; they are in "
            f"{log_folder / 'faults'})",
            dry_run,
        )
    names, planned = _shell_names(graph), functools.cache(lambda: planned_units(run, complete))
    submitted: list[Job] = []
    for stage in graph:
        depends = [queued[name] for name in stage.reads(run) if name in queued]
        permissions = allowed.words(stage.name)
        if stage.name in complete:
            _note(f"{stage.name}: already complete, not submitted", dry_run)
            continue
        if stage.name in live:
            queued[stage.name] = live[stage.name].id
            if any(each.id in depends for each in submitted):
                client(["scontrol", "update", f"JobId={live[stage.name].id}", f"Dependency={_after(depends)}"], {})
                say(f"{stage.name}: job {live[stage.name].id} waits for {', '.join(depends)} now")
                continue
            lacks = permissions and allowed.asked
            ignored = f"; {shlex.join(permissions)} is not passed on to it" if lacks else ""
            say(f"{stage.name}: is in the queue already, as job {live[stage.name].id}{ignored}")
            if will_fail(live[stage.name]):
                say(f"{stage.name}: {WILL_FAIL}")
            if kept is not None:
                _say_other_recipe(run, live[stage.name], kept)
            continue
        if only is not None and stage.name not in only:
            continue
        size = min(run.recipe.slurm.array_size, largest)
        array = None
        if stage.sharded:
            if depends:
                array = array_before(run, stage, size, planned)
            else:
                array = array_of(states[stage.name], size, planned, fingerprints.get(stage.name))
        tasks = len(array.tasks) if array else None
        options = options_of(run, stage, array, log_folder)
        start = ["sbatch", "--parsable", *options]
        script = [str(SCRIPTS / script_of(run, stage)), stage.name, *words, *permissions]
        own = asked_of(run, stage)[1]
        end = [*excluding(own, list(failing)), *script]
        if dry_run:
            name = names[stage.name]
            queued[stage.name] = f'"${{{name}%%;*}}"'  # --parsable prints ID, or ID;CLUSTER
            print(f"{name}=$({' '.join([shlex.join(start), *_dependency(depends), shlex.join(end)])})")
            continue
        assert kept is not None
        start += _dependency(depends)
        try:
            answer = client([*start, *end], variables)
        except InputError as error:
            if not failing or _IMPOSSIBLE not in error.reason:
                raise
            answer = client([*start, *own, *script], variables)
            say(f"{stage.name}: may run on {', '.join(failing)} all the same: there are too few other nodes")
        new = Job(stage.name, answer.strip().split(";")[0], tasks, kept.stem)
        queued[stage.name] = new.id
        submitted.append(new)
        remember(run, new)
        after = f", after {', '.join(depends)}" if depends else ""
        say(f"{stage.name}: submitted as job {new.id}{f', an array of {tasks}' if tasks else ''}{after}")
    if not dry_run and not queued:
        say("nothing to submit: all stages are finished")
    return submitted


def _shell_names(graph: list[Stage]) -> dict[str, str]:
    """A unique shell variable for every stage: `tune_random_2` for `tune.random.2`."""
    found: dict[str, str] = {}
    for stage in graph:
        name = re.sub(r"\W", "_", stage.name)
        while name in found.values():  # train-sbp.2, and an arm sbp_2
            name += "_"
        found[stage.name] = name
    return found


def _say_other_recipe(run: Run, job: Job, kept: Path) -> None:
    """Reports recipe changes since a job was submitted."""
    changed = differences(run, job.recipe, kept)
    if changed:
        more = f", and {len(changed) - 3} more" if len(changed) > 3 else ""
        say(
            f"{job.stage}: that job keeps the recipe as it was submitted ({'; '.join(changed[:3])}{more}); "
            "to submit the current one, `sbp cancel` first"
        )


def _dependency(jobs: list[str]) -> list[str]:
    """Options of a job that waits for others."""
    # Without the second option, a job whose input failed would wait forever.
    return [f"--dependency={_after(jobs)}", "--kill-on-invalid-dep=yes"] if jobs else []


def _after(jobs: list[str]) -> str:
    return f"afterok:{':'.join(jobs)}"


def _note(text: str, dry_run: bool) -> None:
    if dry_run:
        print(f"# {text}")
    else:
        say(text)
