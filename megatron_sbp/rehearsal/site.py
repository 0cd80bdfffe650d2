"""The devices and engines that exist where a rehearsal runs."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from megatron_sbp.recipe import Recipe

ENGINES = ("vllm", "scann", "lm_eval")
"""Packages that engines of a recipe need."""


@dataclass(frozen=True)
class Site:
    """What a rehearsal can use.

    Attributes:
        slurm: whether Slurm starts the processes, on nodes that this one knows nothing about.
        gpus: CUDA devices of this machine; on a cluster those of its nodes are assumed.
        packages: those of ENGINES that can be imported.
    """

    slurm: bool
    gpus: int
    packages: frozenset[str]

    def on_gpu(self, recipe: Recipe) -> bool:
        """Whether stages that look for a GPU will find one."""
        if recipe.launch.device == "cpu":
            return False
        return recipe.slurm.gpus_per_node is not None if self.slurm else self.gpus > 0


def this_machine() -> Site:
    """For processes started here."""
    import torch

    return Site(slurm=False, gpus=torch.cuda.device_count(), packages=_importable())


def cluster(recipe: Recipe) -> Site:
    """For jobs: they import what this process can import, or what the recipe's container has, which is all."""
    packages = frozenset(ENGINES) if recipe.slurm.container_image else _importable()
    return Site(slurm=True, gpus=0, packages=packages)


def _importable() -> frozenset[str]:
    return frozenset(name for name in ENGINES if importlib.util.find_spec(name) is not None)
