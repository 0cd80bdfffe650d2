"""The request of a stage's job, from the recipe's section `slurm`: batch script, array, and sbatch options."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from megatron_sbp.base.errors import InputError
from megatron_sbp.documents.sample import sample_of
from megatron_sbp.executor.fingerprints import Fingerprints
from megatron_sbp.executor.measured import read_measured
from megatron_sbp.executor.state import StageState, Unread
from megatron_sbp.executor.task_numbers import ranges_of
from megatron_sbp.planning.job_needs import job_request
from megatron_sbp.planning.plan import make_plan
from megatron_sbp.recipe import Recipe
from megatron_sbp.recipe.checks import check_layout
from megatron_sbp.recipe.names import RELATED
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


def array_before(run: Run, stage: Stage, largest: int, planned: Callable[[], Mapping[str, int]]) -> Array:
    """The array of a sharded stage that waits for others: a task for each unit where the recipe says how many there
    are, or the plan estimates it.

    Args:
        run: the run.
        stage: the stage.
        largest: most tasks of an array.
        planned: gives the units by stage (`planned_units`), and is called only where they count. A task takes several
            units where there are more than estimated.
    """
    if stage.units_of_recipe:
        count = len(stage.units(run))
    else:
        units = planned()
        count = next((units[name] for name in names_in_plan(stage) if name in units), largest)
    return Array.whole(min(largest, max(1, count)))


def names_in_plan(stage: Stage) -> tuple[str, str]:
    """Names that a stage may have in a plan, which is that of one replicate: `synthesize.random.2` is
    `synthesize.random` there."""
    base, _, last = stage.name.rpartition(".")
    return stage.name, base if last.isdigit() else stage.name


def planned_units(run: Run, finished: Collection[str] = ()) -> dict[str, int]:
    """Units of sharded stages as the plan estimates them; those of written text, of which more may turn out to be
    needed, with a fifth more. `finished` as in `read_measured`."""
    sample, _ = sample_of(run.recipe.documents, run.recipe.folder)
    arrays = make_plan(run.recipe, read_measured(run, finished), None, sample)["arrays"]

    def of_text(name: str) -> bool:
        verb, _, synthesizer = name.partition(".")
        if verb == "scan-corpus":
            return run.recipe.for_synthesizer(synthesizer or RELATED).filter.contaminated is not None
        return verb in _OF_TEXT

    return {name: -(-found["units"] * 6 // 5) if of_text(name) else found["units"] for name, found in arrays.items()}


_OF_TEXT = ("synthesize", "compare", "judge", "filter", "tokenize-synthetic")
"""Stages whose units are shards of written text."""


def array_of(
    state: StageState, largest: int, planned: Callable[[], Mapping[str, int]], fingerprints: Fingerprints | None = None
) -> Array:
    """The array of a sharded stage: a task for every missing unit, as far as the units are known already.

    They are once the stages that it reads from are finished; see `array_before` for others, and for `planned`.
    `fingerprints` are those of the state a moment ago.
    """
    try:
        units = state.stage.units(state.run)
        try:
            missing = set(state.missing_units(fingerprints))
        except Unread:
            missing = set(units)
    except (InputError, OSError):  # a stage that it reads from is not finished, or its files are missing
        return array_before(state.run, state.stage, largest, planned)
    size = max(1, min(largest, len(units)))
    wanted = {place % size + 1 for place, unit in enumerate(units) if unit in missing}
    return Array(sorted(wanted) or [1], size)  # one is needed to complete the stage


def job_names_of(run: Run, stage: Stage) -> list[str]:
    """Names of a stage's job in `slurm.stages`, the most specific last."""
    names = (stage.device_for(run), stage.asks_like, stage.name.partition(".")[0], stage.name)
    return list(dict.fromkeys(filter(None, names)))


def asked_of(run: Run, stage: Stage) -> tuple[SlurmJobs, list[str]]:
    """The resources of a job, and its additional options."""
    slurm, kind, names = run.recipe.slurm, stage.device_for(run), job_names_of(run, stage)
    gpus = slurm.gpus_per_node if kind == "training" else stage.gpus(run)
    further = [*slurm.sbatch, *(word for name in names for word in slurm.stages.get(name, SlurmJobs()).sbatch)]
    return job_request(run.recipe, kind, names, gpus), further


def recipe_of_job(run: Run, stage: Stage) -> Recipe:
    """The recipe with the number of nodes of a training run's own job.

    Raises:
        InputError: the ranks of so many nodes cannot share a batch.
    """
    nodes = asked_of(run, stage)[0].nodes
    if nodes is None or stage.device_for(run) != "training":
        return run.recipe
    recipe = run.recipe.overridden("launch", {"nodes": nodes})
    check_layout(recipe)
    return recipe


def check_gpus(run: Run, graph: Sequence[Stage]) -> None:
    """Raises InputError for a training run with more ranks than GPUs on a node: it would fail after a long wait."""
    ranks = run.recipe.launch.ranks_per_node
    for stage in graph:
        # Ranks of `auto` may compute on the CPU.
        if stage.device_for(run) == "training" and run.recipe.launch.device == "cuda":
            gpus = asked_of(run, stage)[0].gpus_per_node
            if gpus is not None and ranks > gpus:
                raise run.recipe.error(
                    "launch.ranks_per_node",
                    f"{ranks} ranks on a node, but the job of {stage.name} requests {gpus} GPUs on a node "
                    "(slurm.gpus_per_node): every rank needs its own",
                )


def tasks_per_node(recipe: Recipe) -> int:
    """Slurm tasks of a training run on every node: its ranks, or what starts them."""
    return recipe.launch.ranks_per_node if recipe.slurm.launcher == "srun" else 1


def options_of(run: Run, stage: Stage, array: Array | None, log_folder: Path) -> list[str]:
    """The sbatch options that the program sets; the user's own are not among them."""
    recipe, device = run.recipe, stage.device_for(run)
    launch, (asked, _) = recipe_of_job(run, stage).launch, asked_of(run, stage)
    tasks = tasks_per_node(recipe) if device == "training" else 1
    ranks = launch.ranks_per_node // tasks if device == "training" else 1
    pattern = "%x-%A_%a.out" if array else "%x-%j.out"
    options = [
        f"--export=ALL,SBP_SHARDS={array.size}" if array else "--export=ALL",
        f"--job-name={recipe.name}-{stage.name}",
        f"--output={Path(str(log_folder).replace('%', '%%')) / pattern}",
        f"--chdir={Path.cwd()}",  # run_folder is relative to the current folder
        f"--time={asked.time}",
        f"--cpus-per-task={(asked.cpus_per_task or 1) * ranks}",
    ]
    for name in ("partition", "account", "qos", "constraint"):
        if (value := getattr(asked, name)) is not None:
            options.append(f"--{name}={value}")
    if asked.memory is not None:
        options.append(f"--mem={asked.memory}")
    if array:
        options.append(f"--array={array}")
    if device == "training":
        options += [f"--nodes={launch.nodes}", f"--ntasks-per-node={tasks}"]
    if _on_gpu(run, stage):
        options.append(f"--gpus-per-node={asked.gpus_per_node}")
    return options
