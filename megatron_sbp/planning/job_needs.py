"""What a job of each stage requests of Slurm where the recipe does not say otherwise: time, memory, cores."""

from __future__ import annotations

from dataclasses import dataclass

from megatron_sbp.recipe import Recipe
from megatron_sbp.recipe.sections import Slurm, SlurmJobs
from megatron_sbp.recipe.time_limit import minutes_of
from megatron_sbp.recipe.values import SITE


@dataclass(frozen=True)
class Need:
    """Most that a job needs. Tasks of sharded stages are made to end within about two hours (docs/scaling.md)."""

    hours: int
    memory_gb: int
    cores: int | None = None
    """None: as many as the recipe gives (`slurm.cpus_per_task`)."""


_OF_KINDS = {"cpu": Need(4, 16), "gpu": Need(12, 32)}
_OF_VERBS = {
    "documents": Need(6, 16),  # the step that writes the shards, as many at once as cores and memory allow
    "tokenizer": Need(1, 16),
    # Their units work on one core: cores beyond it only speed up digests of what is written.
    "judge": Need(4, 16, 2),
    "index-corpus": Need(4, 16, 2),
    "task-items": Need(4, 16, 2),
    "scan-corpus": Need(4, 16, 2),  # a process per core as far as 16 GB hold them: one at the paper's scale
    "deduplicate": Need(4, 16, 1),
    "filter": Need(4, 16, 1),
    "tokenize-pairs": Need(4, 16, 4),  # the last step copies all pairs, with a thread per core
    "report": Need(1, 8, 2),
    "export-arms": Need(4, 16, 4),  # one tensor in memory at a time, of 0.8 GB in the largest recipe
    "export-synthesizer": Need(4, 16, 4),
}
_GB_PER_RANK = 32


def job_request(recipe: Recipe, kind: str, names: list[str], gpus: int | None) -> SlurmJobs:
    """What a job requests: the needs of its stage, at most `slurm.time`, then what the recipe says, then
    `slurm.stages`.

    Args:
        recipe: the recipe.
        kind: cpu, gpu, or training.
        names: under which `slurm.stages` may name it, the most specific last; its verb is among them.
        gpus: that it requests per node.

    Returns:
        All fields but `sbatch`; `memory` None requests none.
    """
    slurm = recipe.slurm
    need = next((_OF_VERBS[name] for name in reversed(names) if name in _OF_VERBS), _OF_KINDS.get(kind))
    partition = slurm.cpu_partition or slurm.partition if kind == "cpu" else slurm.partition
    found = {name: getattr(slurm, name) for name in SlurmJobs.model_fields if name not in ("nodes", "sbatch")}
    found |= {"partition": partition, "gpus_per_node": gpus, "memory": slurm.memory or _memory(recipe, need)}
    if need is not None:
        found["time"] = _shorter(slurm, need.hours)
        found["cpus_per_task"] = min(need.cores or slurm.cpus_per_task, slurm.cpus_per_task)
    for name in names:
        found |= slurm.stages.get(name, SlurmJobs()).model_dump(exclude={"sbatch"}, exclude_none=True)
    if found["memory"] == SITE:
        found["memory"] = None
    return SlurmJobs.model_construct(**found)


def _shorter(slurm: Slurm, hours: int) -> str:
    return slurm.time if minutes_of(slurm.time) <= 60 * hours else f"{hours:02d}:00:00"


def _memory(recipe: Recipe, need: Need | None) -> str | None:
    """--mem of a stage; of a training run, all of a node whose GPUs it takes."""
    if need is not None:
        return f"{need.memory_gb}G"
    ranks, gpus = recipe.launch.ranks_per_node, recipe.slurm.gpus_per_node
    if gpus is None:
        return None  # CPU ranks: small, or sized by the user
    return "0" if ranks >= gpus else f"{_GB_PER_RANK * ranks}G"
