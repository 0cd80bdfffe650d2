"""What the jobs of a stage may use, by the recipe's section `slurm`: time, memory, cores."""

from __future__ import annotations

import math

from megatron_sbp.planning.job_needs import job_request
from megatron_sbp.recipe import Recipe
from megatron_sbp.recipe.sections import SlurmJobs

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_LIKE = {"pilot": "synthesize", "judge-pilot": "judge"}
"""Verbs that take the overrides of another, where they have none of their own."""


def kind_of(recipe: Recipe, stage: str) -> str:
    """`cpu`, `gpu`, or `training`: which jobs of `slurm.stages` a stage belongs to. Of stages that the plan counts."""
    verb = stage.partition(".")[0]
    if verb == "tune" or verb.startswith("train-"):
        return "training"
    on_gpu = ("embed", "pilot", "synthesize", "compare", "evaluate", "harness")
    return "gpu" if verb in on_gpu or (verb == "neighbors" and recipe.neighbors.engine == "exact") else "cpu"


def time_limit(recipe: Recipe, stage: str, kind: str = "gpu") -> str:
    """--time of a stage.

    Args:
        recipe: the recipe.
        stage: its name.
        kind: `cpu`, `gpu`, or `training`.
    """
    return str(_asked(recipe, stage, kind).time)


def memory_limit(recipe: Recipe, stage: str, kind: str) -> float:
    """Bytes of --mem; infinite where it is the site's default, or all of a node."""
    asked = _asked(recipe, stage, kind).memory
    if asked is None or str(asked) == "0":
        return math.inf
    text = str(asked).upper().removesuffix("B")
    factor = _UNITS.get(text[-1])
    return float(text) * _UNITS["M"] if factor is None else float(text[:-1]) * factor


def cpus_of(recipe: Recipe, stage: str) -> int:
    """--cpus-per-task of a stage on CPUs."""
    return _asked(recipe, stage, "cpu").cpus_per_task or 1


def _asked(recipe: Recipe, stage: str, kind: str) -> SlurmJobs:
    verb = stage.partition(".")[0]
    names = [kind, _LIKE.get(verb, verb), verb, stage]
    return job_request(recipe, kind, list(dict.fromkeys(names)), recipe.slurm.gpus_per_node)
