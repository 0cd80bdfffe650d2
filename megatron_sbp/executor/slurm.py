"""The stage graph as Slurm jobs: one job per stage, an array where it is sharded, chained by dependencies.

The jobs are the batch scripts in scripts/, which can be read, copied, edited and submitted by hand. Submitted jobs are
recorded (`slurm_queue`), so that a second call repeats neither finished stages nor those in the queue.
"""

from __future__ import annotations

import itertools
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.locks import locked
from megatron_sbp.base.progress import say
from megatron_sbp.executor.failing_nodes import excluding, failing_nodes
from megatron_sbp.executor.slurm_queue import Job, client, is_live, jobs_of, largest_array, remember
from megatron_sbp.executor.state import StageState, Unread
from megatron_sbp.executor.submitted import differences, keep
from megatron_sbp.recipe import Recipe
from megatron_sbp.recipe.sections import SlurmJobs
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage

SCRIPTS = Path(__file__).resolve().with_name("scripts")
"""Batch scripts and what they share; package data."""

"""Kinds of jobs, as stages name the device that they use."""


def submit(
    run: Run, recipe_path: Path | str, overrides: list[str], graph: list[Stage], dry_run: bool = False
) -> list[Job]:
    """Submits every stage that is not finished. Jobs read a copy of the recipe as it is now; of two submissions at the
    same time, the second waits and finds the jobs of the first in the queue.

    Args:
        run: The run.
        recipe_path: The recipe file that the jobs read.
        overrides: `key=value` words for the jobs.
        graph: All stages, each after those that it reads from.
        dry_run: Print the commands as a shell script and submit nothing; needs no Slurm.

    Returns:
        The jobs submitted by this call.

    Raises:
        InputError: no Slurm here, or Slurm refuses a job (with its message).
    """
    if dry_run:
        return _submit(run, [str(Path(recipe_path).resolve()), *overrides], graph, None)
    with locked(run.root / "logs" / "slurm" / ".submit.lock", "submit"):
        kept = keep(run)
        return _submit(run, [str(kept)], graph, kept)


def _submit(run: Run, words: list[str], graph: list[Stage], kept: Path | None) -> list[Job]:
    """Submits what is not finished and not in the queue.

    Args:
        run: the run.
        words: recipe and overrides of the jobs.
        graph: all stages.
        kept: the copy of the recipe that the jobs read; None prints the commands only.
    """
    dry_run = kept is None
    log_folder = run.root / "logs" / "slurm"
    variables = {**_variables(run.recipe), "SBP_FAULTS": str(log_folder / "faults")}
    queued: dict[str, str] = {}  # job numbers by stage; in a dry run the script's variables, quoted for its shell
    live: dict[str, Job] = {}
    if dry_run:
        print(f"mkdir -p {shlex.quote(str(log_folder))}")
        for name, value in variables.items():
            print(f"export {name}={shlex.quote(value)}")
    else:
        log_folder.mkdir(parents=True, exist_ok=True)
        live = {job.stage: job for job in jobs_of(run) if is_live(job)}
    largest = largest_array()
    failing = failing_nodes(log_folder / "faults", run.recipe.slurm.exclude_after)
    for node, count in failing.items():
        _note(
            f"{node} is excluded: {count} different faults of this run were on it (slurm.exclude_after; they are in "
            f"{log_folder / 'faults'})",
            dry_run,
        )
    submitted = []
    for stage in graph:
        depends = [queued[name] for name in stage.reads(run) if name in queued]
        # A stage after one that runs again may have to run again too; if not, its job ends at once.
        if not depends and _finished(run, stage, graph):
            _note(f"{stage.name}: already complete, not submitted", dry_run)
            continue
        if stage.name in live:
            queued[stage.name] = live[stage.name].id
            say(f"{stage.name}: is in the queue already, as job {live[stage.name].id}")
            if kept is not None:
                _say_other_recipe(run, live[stage.name], kept)
            continue
        size = min(run.recipe.slurm.array_size, largest)
        array = None
        if stage.sharded:  # what it reads may change its units: then all tasks are submitted
            array = _Array.whole(size) if depends else _array(run, stage, graph, size)
        tasks = len(array.tasks) if array else None
        options = _options(run, stage, array, log_folder)
        further = excluding(_asked(run, stage)[1], list(failing))
        script = SCRIPTS / _script(run, stage)
        start, end = ["sbatch", "--parsable", *options], [*further, str(script), stage.name, *words]
        if dry_run:
            name = stage.name.replace("-", "_")
            queued[stage.name] = f'"${{{name}%%;*}}"'  # --parsable prints ID, or ID;CLUSTER
            print(f"{name}=$({' '.join([shlex.join(start), *_dependency(depends), shlex.join(end)])})")
            continue
        command = [*start, *_dependency(depends), *end]
        assert kept is not None
        job = Job(stage.name, client(command, variables).strip().split(";")[0], tasks, kept.stem)
        queued[stage.name] = job.id
        submitted.append(job)
        remember(run, job)
        after = f", after {', '.join(depends)}" if depends else ""
        say(f"{stage.name}: submitted as job {job.id}{f', an array of {tasks}' if tasks else ''}{after}")
    if not dry_run and not queued:
        say("nothing to submit: all stages are finished")
    return submitted


def _say_other_recipe(run: Run, job: Job, kept: Path) -> None:
    """Says what is different in the recipe of a job that was submitted earlier."""
    changed = differences(run, job.recipe, kept)
    if changed:
        more = f", and {len(changed) - 3} more" if len(changed) > 3 else ""
        say(
            f"{job.stage}: that job keeps the recipe as it was submitted ({'; '.join(changed[:3])}{more}); "
            "to submit the present one, `sbp cancel` first"
        )


def _variables(recipe: Recipe) -> dict[str, str]:
    """What scripts/job.sh reads."""
    slurm = recipe.slurm
    given = os.environ.get("SBP_COMMAND")

    def command(python: str) -> str:
        return given or shlex.join([python, "-m", "megatron_sbp"])

    return {
        "SBP_HOME": str(SCRIPTS.parents[2]),
        "SBP_SETUP": slurm.setup,
        "SBP_COMMAND": command(_python(recipe)),
        "SBP_OUTSIDE_COMMAND": command(sys.executable),
        "SBP_MAX_REQUEUES": str(slurm.max_requeues),
        "SBP_MAX_RETRIES": str(slurm.max_retries),
        "SBP_CONTAINER_RUNTIME": slurm.container_runtime,
        "SBP_CONTAINER_IMAGE": slurm.container_image or "",
        "SBP_CONTAINER_MOUNTS": slurm.container_mounts or "",
    }


def _on_gpu(run: Run, stage: Stage) -> bool:
    recipe = run.recipe
    return stage.device_for(run) != "cpu" and recipe.slurm.gpus_per_node is not None and recipe.launch.device != "cpu"


def _script(run: Run, stage: Stage) -> str:
    if stage.device_for(run) == "training":
        return "training.sbatch"
    if stage.sharded:
        return "gpu_array.sbatch" if _on_gpu(run, stage) else "cpu_array.sbatch"
    return "single.sbatch"


@dataclass(frozen=True)
class _Array:
    """Tasks of an array: numbers out of 1 to `size`."""

    tasks: list[int]
    size: int

    @staticmethod
    def whole(size: int) -> _Array:
        """All of them."""
        return _Array(list(range(1, size + 1)), size)

    def __str__(self) -> str:
        """As --array takes it: 1-4,7."""
        parts = []
        for _, group in itertools.groupby(enumerate(self.tasks), lambda entry: entry[1] - entry[0]):
            numbers = [number for _, number in group]
            parts.append(str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}")
        return ",".join(parts)


def _array(run: Run, stage: Stage, graph: list[Stage], largest: int) -> _Array:
    """The array of a sharded stage: a task for every missing unit, as far as the units are known already.

    They are once the stages that it reads from are finished; before that every task is submitted, and one without units
    ends at once.
    """
    state = StageState(run, stage, graph, reads_data=False)
    try:
        units = stage.units(run)
        try:
            missing = set(state.missing_units())
        except Unread:
            missing = set(units)
    except (InputError, OSError):  # a stage that it reads from is not finished, or its files are gone
        return _Array.whole(largest)
    size = max(1, min(largest, len(units)))
    wanted = {place % size + 1 for place, unit in enumerate(units) if unit in missing}
    return _Array(sorted(wanted) or [1], size)  # one is needed to complete the stage


def _asked(run: Run, stage: Stage) -> tuple[dict[str, Any], list[str]]:
    """What a job asks for by the recipe, and its further options: of all jobs, its kind, a verb like it, its verb, its
    stage."""
    slurm, kind = run.recipe.slurm, stage.device_for(run)
    cpu_partition = slurm.cpu_partition or slurm.partition
    found: dict[str, Any] = {name: getattr(slurm, name) for name in SlurmJobs.model_fields if name != "sbatch"}
    found["partition"] = cpu_partition if kind == "cpu" else slurm.partition
    found["gpus_per_node"] = slurm.gpus_per_node if kind == "training" else 1
    further = list(slurm.sbatch)
    for name in dict.fromkeys((kind, stage.asks_like, stage.name.partition(".")[0], stage.name)):
        differing = slurm.stages.get(name, SlurmJobs())
        found.update(differing.model_dump(exclude={"sbatch"}, exclude_none=True))
        further += differing.sbatch
    return found, further


def _options(run: Run, stage: Stage, array: _Array | None, log_folder: Path) -> list[str]:
    recipe, launch, device = run.recipe, run.recipe.launch, stage.device_for(run)
    asked, _ = _asked(run, stage)
    pattern = "%x-%A_%a.out" if array else "%x-%j.out"
    options = [
        f"--export=ALL,SBP_SHARDS={array.size}" if array else "--export=ALL",
        f"--job-name={recipe.name}-{stage.name}",
        f"--output={log_folder / pattern}",
        f"--chdir={Path.cwd()}",  # run_folder is relative to the current folder
        f"--time={asked['time']}",
        f"--cpus-per-task={asked['cpus_per_task']}",
    ]
    for name in ("partition", "account", "qos", "constraint"):
        if asked[name] is not None:
            options.append(f"--{name}={asked[name]}")
    if asked["memory"] is not None:
        options.append(f"--mem={asked['memory']}")
    if array:
        options.append(f"--array={array}")
    if device == "training":
        options += [f"--nodes={launch.nodes}", f"--ntasks-per-node={launch.ranks_per_node}"]
    if _on_gpu(run, stage):
        options.append(f"--gpus-per-node={asked['gpus_per_node']}")
    return options


def container_words(recipe: Recipe, on_gpu: bool) -> list[str]:
    """Words behind `srun OPTIONS` that put its tasks into the recipe's container; none without one. scripts/job.sh has
    the same for stages of one process."""
    slurm = recipe.slurm
    image, mounts = slurm.container_image, slurm.container_mounts
    if not image:
        return []
    if slurm.container_runtime == "edf":
        return [f"--environment={image}"]
    if slurm.container_runtime == "apptainer":
        bind = ["--bind", mounts] if mounts else []
        return ["apptainer", "exec", *(["--nv"] if on_gpu else []), *bind, image]
    return [f"--container-image={image}", *([f"--container-mounts={mounts}"] if mounts else [])]


def srun_words(recipe: Recipe) -> list[str]:
    """The words that make Slurm start one task per rank, inside a job, up to the rank's interpreter."""
    launch, script = recipe.launch, SCRIPTS / "rank.sh"
    tasks = ["--nodes", str(launch.nodes), "--ntasks-per-node", str(launch.ranks_per_node), "--kill-on-bad-exit=1"]
    on_gpu = launch.device != "cpu" and recipe.slurm.gpus_per_node is not None
    return ["srun", *tasks, *container_words(recipe, on_gpu), "bash", str(script), _python(recipe)]


def _python(recipe: Recipe) -> str:
    """The interpreter of stages and ranks: a container has its own."""
    return "python" if recipe.slurm.container_image else sys.executable


def _finished(run: Run, stage: Stage, graph: list[Stage]) -> bool:
    try:
        return StageState(run, stage, graph, reads_data=False).finished()
    except InputError:  # a stage that it reads from is not finished, or its inputs were never read
        return False


def _dependency(jobs: list[str]) -> list[str]:
    """Options of a job that waits for others."""
    # Without the second option a job whose input failed would wait for ever.
    return [f"--dependency=afterok:{':'.join(jobs)}", "--kill-on-invalid-dep=yes"] if jobs else []


def _note(text: str, dry_run: bool) -> None:
    if dry_run:
        print(f"# {text}")
    else:
        say(text)
