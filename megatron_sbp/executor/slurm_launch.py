"""What runs inside a job: the batch scripts, their variables, and the srun command that starts the ranks."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from megatron_sbp.base.processes import module_words
from megatron_sbp.executor.slurm_request import tasks_per_node
from megatron_sbp.recipe import Recipe

SCRIPTS = Path(__file__).resolve().with_name("scripts")
"""Batch scripts and what they share; package data."""


def variables_of(recipe: Recipe, given: str | None) -> dict[str, str]:
    """What scripts/job.sh reads.

    Args:
        recipe: of the run.
        given: what runs `sbp` in a job, in words quoted for a shell; None means the package of this process.
    """
    slurm = recipe.slurm

    def command(python: str) -> str:
        return given or shlex.join(module_words("megatron_sbp", python))

    return {
        "SBP_HOME": str(SCRIPTS.parents[2]),
        "SBP_SETUP": slurm.setup,
        "SBP_COMMAND": command(_python(recipe)),
        "SBP_OUTSIDE_COMMAND": command(sys.executable),
        "SBP_MAX_REQUEUES": str(slurm.max_requeues),
        "SBP_MAX_RETRIES": str(slurm.max_retries),
        "SBP_EXCLUDE_AFTER": str(slurm.exclude_after),
        "SBP_CONTAINER_RUNTIME": slurm.container_runtime,
        "SBP_CONTAINER_IMAGE": slurm.container_image or "",
        "SBP_CONTAINER_MOUNTS": slurm.container_mounts or "",
    }


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
    """The words that make Slurm start the ranks, inside a job, up to the ranks' interpreter."""
    launch, launcher = recipe.launch, recipe.slurm.launcher
    tasks = ["--nodes", str(launch.nodes), "--ntasks-per-node", str(tasks_per_node(recipe)), "--kill-on-bad-exit=1"]
    watched = ["--ft", *recipe.slurm.ft_options, "--"] if launcher == "ft_launcher" else []
    script = ["rank.sh"] if launcher == "srun" else ["node.sh", *watched, str(launch.ranks_per_node)]
    on_gpu = launch.device != "cpu" and recipe.slurm.gpus_per_node is not None
    words = ["bash", str(SCRIPTS / script[0]), *script[1:], _python(recipe)]
    return ["srun", *tasks, *container_words(recipe, on_gpu), *words]


def _python(recipe: Recipe) -> str:
    """The interpreter of stages and ranks: a container has its own."""
    return "python" if recipe.slurm.container_image else sys.executable
