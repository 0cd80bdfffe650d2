"""The ranks of a rehearsal: a dimension of parallelism that is larger than one stays larger than one."""

from __future__ import annotations

from megatron_sbp.recipe import Recipe
from megatron_sbp.recipe.sections import Launch
from megatron_sbp.rehearsal.changes import Draft
from megatron_sbp.rehearsal.site import Site

MOST = 2
"""Data-parallel ranks, and nodes. Other dimensions shrink to their smallest divisor, so that all they divide stays
divisible."""

_SPLITS = ("context_parallel", "pipeline_parallel", "tensor_parallel")
"""Given up in this order where there are too few ranks."""

_LOST = {
    "nodes": "all ranks on one machine: nothing goes between nodes",
    "ranks_per_node": "no more than one rank is here",
    "tensor_parallel": "too few ranks for it here",
    "pipeline_parallel": "too few ranks for it here",
    "context_parallel": "needs Transformer Engine on GPUs, and enough ranks",
}
"""What it means that a number becomes one."""


def data_parallel(launch: Launch) -> int:
    """Ranks that hold the same part of the model."""
    split = launch.tensor_parallel * launch.pipeline_parallel * launch.context_parallel
    return launch.nodes * launch.ranks_per_node // split


def cut_layout(draft: Draft, recipe: Recipe, site: Site) -> Launch:
    """Cuts the ranks, and gives the layout that is left.

    On a cluster nodes are whole: what a job requests of a node is rehearsed too.
    """
    launch = recipe.launch
    wanted = {name: _smallest_divisor(getattr(launch, name)) for name in _SPLITS}
    if not site.on_gpu(recipe):
        wanted["context_parallel"] = 1
    left = _whole_nodes(launch, wanted) if site.slurm else _one_machine(launch, wanted, _limit(recipe, site))
    for name in _LOST:
        lost = getattr(launch, name) > 1 and left[name] == 1
        draft.set(("launch", name), left[name], "replaced" if lost else "size", _LOST[name] if lost else "")
    return launch.model_copy(update=left)


def _limit(recipe: Recipe, site: Site) -> int:
    """Ranks that one machine takes: one per GPU; on CPUs enough for two of every dimension."""
    return site.gpus if site.on_gpu(recipe) else MOST**3


def _one_machine(launch: Launch, wanted: dict[str, int], limit: int) -> dict[str, int]:
    data = min(data_parallel(launch), MOST)
    if data * _product(wanted) > limit:
        data = 1
    for name in _SPLITS:
        if data * _product(wanted) > limit:
            wanted[name] = 1
    return {**wanted, "nodes": 1, "ranks_per_node": data * _product(wanted)}


def _whole_nodes(launch: Launch, wanted: dict[str, int]) -> dict[str, int]:
    nodes = min(launch.nodes, MOST)
    for name in _SPLITS:
        if nodes * launch.ranks_per_node % _product(wanted):
            wanted[name] = 1
    return {**wanted, "nodes": nodes, "ranks_per_node": launch.ranks_per_node}


def _smallest_divisor(size: int) -> int:
    """Above one, if there is such a value."""
    return next((divisor for divisor in range(2, size + 1) if size % divisor == 0), 1)


def _product(wanted: dict[str, int]) -> int:
    return wanted["context_parallel"] * wanted["pipeline_parallel"] * wanted["tensor_parallel"]
