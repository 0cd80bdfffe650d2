"""The stage graph as Slurm jobs: one job per stage, an array where it is sharded, chained by dependencies.

The jobs are the batch scripts in scripts/, which can be read, copied, edited and submitted by hand. Submitted jobs are
recorded (`slurm_queue`), so that a second call repeats neither finished stages nor those in the queue.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import say
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.executor.slurm_queue import Job, client, is_live, jobs_of, largest_array, remember
from megatron_sbp.recipe import Recipe
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage

SCRIPTS = Path(__file__).resolve().with_name("scripts")
"""Batch scripts and what they share; package data."""


def submit(
    run: Run, recipe_path: Path | str, overrides: list[str], graph: list[Stage], dry_run: bool = False
) -> list[Job]:
    """Submits every stage that is not finished.

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
    words = [str(Path(recipe_path).resolve()), *overrides]
    log_folder = run.root / "logs" / "slurm"
    variables = _variables(run.recipe)
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
            continue
        tasks = min(run.recipe.slurm.array_size, largest) if stage.sharded else None
        options = _options(run, stage, tasks, log_folder)
        script = SCRIPTS / _script(run, stage)
        start, end = ["sbatch", "--parsable", *options], [*run.recipe.slurm.sbatch, str(script), stage.name, *words]
        if dry_run:
            name = stage.name.replace("-", "_")
            queued[stage.name] = f'"${{{name}%%;*}}"'  # --parsable prints ID, or ID;CLUSTER
            print(f"{name}=$({' '.join([shlex.join(start), *_dependency(depends), shlex.join(end)])})")
            continue
        command = [*start, *_dependency(depends), *end]
        job = Job(stage.name, client(command, variables).strip().split(";")[0], tasks)
        queued[stage.name] = job.id
        submitted.append(job)
        remember(run, job)
        after = f", after {', '.join(depends)}" if depends else ""
        say(f"{stage.name}: submitted as job {job.id}{f', an array of {tasks}' if tasks else ''}{after}")
    if not dry_run and not queued:
        say("nothing to submit: all stages are finished")
    return submitted


def _variables(recipe: Recipe) -> dict[str, str]:
    """What scripts/job.sh reads."""
    slurm = recipe.slurm
    python = "python" if slurm.container_image else sys.executable  # the container has its own
    return {
        "SBP_HOME": str(SCRIPTS.parents[2]),
        "SBP_SETUP": slurm.setup,
        "SBP_COMMAND": os.environ.get("SBP_COMMAND") or shlex.join([python, "-m", "megatron_sbp.cli"]),
        "SBP_MAX_REQUEUES": str(slurm.max_requeues),
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


def _options(run: Run, stage: Stage, tasks: int | None, log_folder: Path) -> list[str]:
    recipe, slurm, launch, device = run.recipe, run.recipe.slurm, run.recipe.launch, stage.device_for(run)
    pattern = "%x-%A_%a.out" if tasks else "%x-%j.out"
    options = [
        "--export=ALL",
        f"--job-name={recipe.name}-{stage.name}",
        f"--output={log_folder / pattern}",
        f"--chdir={Path.cwd()}",  # run_folder is relative to the current folder
        f"--time={slurm.time}",
        f"--cpus-per-task={slurm.cpus_per_task}",
    ]
    cpu_partition = slurm.cpu_partition or slurm.partition
    partition = cpu_partition if device == "cpu" else slurm.partition
    for name, value in (("partition", partition), ("account", slurm.account), ("qos", slurm.qos)):
        if value is not None:
            options.append(f"--{name}={value}")
    if tasks:
        options.append(f"--array=1-{tasks}")
    if device == "training":
        options += [f"--nodes={launch.nodes}", f"--ntasks-per-node={launch.ranks_per_node}"]
    if _on_gpu(run, stage):
        options.append(f"--gpus-per-node={slurm.gpus_per_node if device == 'training' else 1}")
    return options


def container_options(recipe: Recipe) -> list[str]:
    """Pyxis options for an srun that starts ranks; empty without a container."""
    slurm = recipe.slurm
    named = (("image", slurm.container_image), ("mounts", slurm.container_mounts))
    return [f"--container-{name}={value}" for name, value in named if value] if slurm.container_image else []


def srun_words(recipe: Recipe) -> list[str]:
    """The words in front of a rank's command that make Slurm start one task per rank, inside a job."""
    launch, script = recipe.launch, SCRIPTS / "rank.sh"
    tasks = ["--nodes", str(launch.nodes), "--ntasks-per-node", str(launch.ranks_per_node), "--kill-on-bad-exit=1"]
    return ["srun", *tasks, *container_options(recipe), "bash", str(script)]


def _finished(run: Run, stage: Stage, graph: list[Stage]) -> bool:
    try:
        return StageRunner(run, stage, graph).finished()
    except InputError:  # a stage that it reads from is not finished
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
