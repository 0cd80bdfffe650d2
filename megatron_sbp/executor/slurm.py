"""The stage graph as Slurm jobs: one job per stage, an array where it is sharded, chained by dependencies.

The jobs are the scripts in slurm/ of the repository, which a person can read, edit and submit by hand. What was
submitted is written to RUN/logs/slurm/jobs.json, so that a second call repeats neither finished stages nor those in the
queue.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import megatron_sbp
from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import say
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.recipe import Recipe
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage

TIMEOUT = 60
"""Seconds that a Slurm client may take: with the controller down it would hang for minutes."""

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


@dataclass(frozen=True)
class Job:
    """A submitted stage."""

    stage: str
    id: str
    """Slurm's job number; of the whole array where it is one."""
    tasks: int | None = None
    """Array tasks; None for a single job."""
    state: str = ""
    """What Slurm says of it: `RUNNING`, or `COMPLETED 3, RUNNING 1` for an array. Not stored."""

    def __str__(self) -> str:
        tasks = f" (array of {self.tasks})" if self.tasks else ""
        return f"job {self.id}{tasks}, {self.stage}: {self.state}"


def submit(
    run: Run, recipe_path: Path | str, overrides: list[str], graph: list[Stage], dry_run: bool = False
) -> list[Job]:
    """Submits every stage that is not finished.

    Args:
        run: The run.
        recipe_path: The recipe file, as the jobs shall read it.
        overrides: `key=value` words for the jobs.
        graph: All stages, each after those that it reads.
        dry_run: Print the commands as a shell script and submit nothing; needs no Slurm.

    Returns:
        The jobs submitted by this call.

    Raises:
        InputError: no Slurm here, Slurm refuses a job (with its words), or the scripts are missing.
    """
    home = _home()
    words = [str(Path(recipe_path).resolve()), *overrides]
    log_folder = run.root / "logs" / "slurm"
    variables = _variables(run.recipe, home)
    queued: dict[str, str] = {}  # job numbers by stage; in a dry run the script's variables, quoted for its shell
    live: dict[str, Job] = {}
    if dry_run:
        print(f"mkdir -p {shlex.quote(str(log_folder))}")
        for name, value in variables.items():
            print(f"export {name}={shlex.quote(value)}")
    else:
        log_folder.mkdir(parents=True, exist_ok=True)
        live = {job.stage: job for job in jobs_of(run) if _is_live(job)}
    largest = _largest_array()
    submitted = []
    for stage in graph:
        depends = [queued[name] for name in stage.reads(run) if name in queued]
        # A stage behind one that runs again may have to run again itself; its job ends at once if it need not.
        if not depends and _finished(run, stage, graph):
            _note(f"{stage.name}: already complete, not submitted", dry_run)
            continue
        if stage.name in live:
            queued[stage.name] = live[stage.name].id
            say(f"{stage.name}: is in the queue already, as job {live[stage.name].id}")
            continue
        tasks = min(run.recipe.slurm.array_size, largest) if stage.sharded else None
        options = _options(run, stage, tasks, log_folder)
        script = home / "slurm" / _script(run, stage)
        start, end = ["sbatch", "--parsable", *options], [*run.recipe.slurm.sbatch, str(script), stage.name, *words]
        if dry_run:
            name = stage.name.replace("-", "_")
            queued[stage.name] = f'"${{{name}%%;*}}"'  # --parsable prints ID, or ID;CLUSTER
            print(f"{name}=$({' '.join([shlex.join(start), *_dependency(depends), shlex.join(end)])})")
            continue
        command = [*start, *_dependency(depends), *end]
        job = Job(stage.name, _client(command, variables).strip().split(";")[0], tasks)
        queued[stage.name] = job.id
        submitted.append(job)
        _remember(run, job)
        after = f", after {', '.join(depends)}" if depends else ""
        say(f"{stage.name}: submitted as job {job.id}{f', an array of {tasks}' if tasks else ''}{after}")
    if not dry_run and not queued:
        say("nothing to submit: all stages are finished")
    return submitted


def jobs_of(run: Run) -> list[Job]:
    """The last job of every stage that was submitted, in order of submission, with its state now.

    The state comes from squeue, for jobs that it forgot from sacct where the site keeps accounts. It is
    "gone from the queue" when neither knows the job, and "unknown" when Slurm does not answer.
    """
    file = _jobs_file(run)
    if not file.exists():
        return []
    jobs = [Job(**entry) for entry in files.read_json(file)]
    states = _states([job.id for job in jobs])
    return [dataclasses.replace(job, state=_state(job, states)) for job in jobs]


# -- what a job is asked for -------------------------------------------------------------------------------------------


def _home() -> Path:
    home = Path(megatron_sbp.__file__).resolve().parents[1]
    if not (home / "slurm" / "job.sh").exists():
        raise InputError(
            "no Slurm scripts here: they belong to the repository and are not installed with the package; "
            "run from a clone (pip install --editable)",
            file=home / "slurm",
        )
    return home


def _variables(recipe: Recipe, home: Path) -> dict[str, str]:
    """What slurm/job.sh reads."""
    slurm = recipe.slurm
    variables = {
        "SBP_HOME": str(home),
        "SBP_SETUP": slurm.setup,
        "SBP_COMMAND": os.environ.get("SBP_COMMAND") or f"{sys.executable} -m megatron_sbp.cli",
        "SBP_MAX_REQUEUES": str(slurm.max_requeues),
        "SBP_CONTAINER_IMAGE": slurm.container_image or "",
        "SBP_CONTAINER_MOUNTS": slurm.container_mounts or "",
    }
    if slurm.container_image and "SBP_COMMAND" not in os.environ:
        variables["SBP_COMMAND"] = "python -m megatron_sbp.cli"  # the container's
    return variables


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


def _finished(run: Run, stage: Stage, graph: list[Stage]) -> bool:
    try:
        return StageRunner(run, stage, graph).finished()
    except InputError:  # a stage that it reads from is not finished
        return False


# -- what was submitted ------------------------------------------------------------------------------------------------


def _jobs_file(run: Run) -> Path:
    return run.root / "logs" / "slurm" / "jobs.json"


def _remember(run: Run, job: Job) -> None:
    file = _jobs_file(run)
    former = files.read_json(file) if file.exists() else []
    entry = {"stage": job.stage, "id": job.id, "tasks": job.tasks}
    files.write_json(file, [*(other for other in former if other["stage"] != job.stage), entry])


def _is_live(job: Job) -> bool:
    return any(part.split()[0] in _LIVE for part in job.state.split(", ") if part)


def _state(job: Job, states: dict[str, list[str]] | None) -> str:
    if states is None:
        return "unknown (Slurm does not answer)"
    found = states.get(job.id)
    if not found:
        return "gone from the queue"
    if job.tasks is None:
        return found[0]
    return ", ".join(f"{state} {count}" for state, count in sorted(Counter(found).items()))


def _states(ids: list[str]) -> dict[str, list[str]] | None:
    """States of jobs by number, one per array task; None when squeue is missing or does not answer."""
    squeue = _try(["squeue", "--noheader", "--array", "--states=all", f"--jobs={','.join(ids)}", "--format=%F %T"])
    if squeue is None:
        return None
    states = _by_job(squeue)
    forgotten = [job for job in ids if job not in states]
    if forgotten and shutil.which("sacct"):
        accounts = _try(["sacct", "-n", "-X", "-P", "--delimiter= ", "-j", ",".join(forgotten), "-o", "JobID,State"])
        states.update(_by_job(accounts or ""))
    return states


def _by_job(text: str) -> dict[str, list[str]]:
    states: dict[str, list[str]] = {}
    for line in text.splitlines():
        number, _, state = line.strip().partition(" ")
        if number and state:
            states.setdefault(number.split("_")[0], []).append(state.split()[0])
    return states


# -- Slurm's clients ---------------------------------------------------------------------------------------------------


def _largest_array() -> int:
    """Largest index of an array at this site: MaxArraySize - 1 (Slurm's default is 1001)."""
    for line in (_try(["scontrol", "show", "config"]) or "").splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "MaxArraySize":
            return max(1, int(value) - 1)
    return 1000


def _client(command: list[str], variables: dict[str, str]) -> str:
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT, env={**os.environ, **variables}
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
    """Output of a client; None where it is missing or fails. Having forgotten a job is no failure."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    if result.returncode and "Invalid job id" not in result.stderr:
        return None
    return result.stdout


def _dependency(jobs: list[str]) -> list[str]:
    """Options of a job that waits for others."""
    # Without the second option a job whose input failed would wait for ever.
    return [f"--dependency=afterok:{':'.join(jobs)}", "--kill-on-invalid-dep=yes"] if jobs else []


def _note(text: str, dry_run: bool) -> None:
    if dry_run:
        print(f"# {text}")
    else:
        say(text)
