"""What the job of a stage requests, from the recipe's section `slurm`: batch script, array, and sbatch options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_sbp.base.errors import InputError
from megatron_sbp.executor.state import StageState, Unread
from megatron_sbp.executor.task_numbers import ranges_of
from megatron_sbp.recipe.sections import SlurmJobs
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage


def _on_gpu(run: Run, stage: Stage) -> bool:
    recipe = run.recipe
    return stage.device_for(run) != "cpu" and recipe.slurm.gpus_per_node is not None and recipe.launch.device != "cpu"


def script_of(run: Run, stage: Stage) -> str:
    """Name of the batch script."""
    if stage.device_for(run) == "training":
        return "training.sbatch"
    if stage.sharded:
        return "gpu_array.sbatch" if _on_gpu(run, stage) else "cpu_array.sbatch"
    return "single.sbatch"


@dataclass(frozen=True)
class Array:
    """Tasks of an array: numbers out of 1 to `size`."""

    tasks: list[int]
    size: int

    @staticmethod
    def whole(size: int) -> Array:
        """All of them."""
        return Array(list(range(1, size + 1)), size)

    def __str__(self) -> str:
        """As --array takes it: 1-4,7."""
        return ranges_of(self.tasks)


def array_before(run: Run, stage: Stage, largest: int) -> Array:
    """The array of a sharded stage that waits for others: what they write may change its units, so that every task is
    submitted, or one for each unit where the recipe says how many there are."""
    return Array.whole(min(largest, max(1, len(stage.units(run)))) if stage.units_of_recipe else largest)


def array_of(state: StageState, largest: int) -> Array:
    """The array of a sharded stage: a task for every missing unit, as far as the units are known already.

    They are once the stages that it reads from are finished; before that every task is submitted, and one without units
    ends at once.
    """
    try:
        units = state.stage.units(state.run)
        try:
            missing = set(state.missing_units())
        except Unread:
            missing = set(units)
    except (InputError, OSError):  # a stage that it reads from is not finished, or its files are gone
        return array_before(state.run, state.stage, largest)
    size = max(1, min(largest, len(units)))
    wanted = {place % size + 1 for place, unit in enumerate(units) if unit in missing}
    return Array(sorted(wanted) or [1], size)  # one is needed to complete the stage


def asked_of(run: Run, stage: Stage) -> tuple[dict[str, Any], list[str]]:
    """What a job requests according to the recipe, and its additional options: of all jobs, its kind, a verb like it,
    its verb, its stage."""
    slurm, kind = run.recipe.slurm, stage.device_for(run)
    cpu_partition = slurm.cpu_partition or slurm.partition
    found: dict[str, Any] = {name: getattr(slurm, name) for name in SlurmJobs.model_fields if name != "sbatch"}
    found["partition"] = cpu_partition if kind == "cpu" else slurm.partition
    found["gpus_per_node"] = slurm.gpus_per_node if kind == "training" else stage.gpus(run)
    further = list(slurm.sbatch)
    for name in dict.fromkeys((kind, stage.asks_like, stage.name.partition(".")[0], stage.name)):
        differing = slurm.stages.get(name, SlurmJobs())
        found.update(differing.model_dump(exclude={"sbatch"}, exclude_none=True))
        further += differing.sbatch
    return found, further


def check_gpus(run: Run, graph: Sequence[Stage]) -> None:
    """Raises InputError for a training with more ranks than GPUs on a node: it would fail after all it waits for."""
    ranks = run.recipe.launch.ranks_per_node
    for stage in graph:
        # Ranks of `auto` may compute on the CPU.
        if stage.device_for(run) == "training" and run.recipe.launch.device == "cuda":
            gpus = asked_of(run, stage)[0]["gpus_per_node"]
            if gpus is not None and ranks > gpus:
                raise run.recipe.error(
                    "launch.ranks_per_node",
                    f"{ranks} ranks on a node, but the job of {stage.name} requests {gpus} GPUs on a node "
                    "(slurm.gpus_per_node): every rank needs its own",
                )


def options_of(run: Run, stage: Stage, array: Array | None, log_folder: Path) -> list[str]:
    """The sbatch options that we know of; the user's own are not among them."""
    recipe, launch, device = run.recipe, run.recipe.launch, stage.device_for(run)
    asked, _ = asked_of(run, stage)
    pattern = "%x-%A_%a.out" if array else "%x-%j.out"
    options = [
        f"--export=ALL,SBP_SHARDS={array.size}" if array else "--export=ALL",
        f"--job-name={recipe.name}-{stage.name}",
        f"--output={str(log_folder).replace('%', '%%')}/{pattern}",
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
