"""Copies of finished runs in which an array is to run again, on node3 of the test cluster."""

from __future__ import annotations

import shutil
from pathlib import Path

from support.mined_run import foldoc_recipe
from support.synthesis_run import run_of
from support.undone import undo

from megatron_sbp.executor.claim import claim
from megatron_sbp.recipe import Neighbors, Recipe, dump_recipe, load_recipe
from megatron_sbp.stages.deduplicate import DeduplicateStage
from megatron_sbp.stages.embed import EmbedStage
from megatron_sbp.stages.filter import FilterStage
from megatron_sbp.stages.judge import JudgeStage
from megatron_sbp.stages.neighbors import NeighborsStage
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage
from megatron_sbp.stages.synthesize import SynthesizeStage


def until_synthesis(name: str, synthesized: Path, folder: Path, tasks: int) -> tuple[Run, list[Stage]]:
    """A copy of the finished run that lacks what this stage and those after it wrote, and the graph up to the stage."""
    shutil.copytree(synthesized, folder / "copy")
    shutil.move(folder / "copy" / "run", folder)
    # As many generations for half of the tokens: `filter` is not to find that more are needed.
    enough = ("synthesis.tokens=1000", "synthesis.margin=2.6")
    loaded = run_of(folder / "copy", f"run_folder={folder / 'run'}", *enough)
    run = Run.of(on_node3(loaded.recipe, tasks))
    graph: list[Stage] = [SynthesizeStage(), JudgeStage(), DeduplicateStage(), FilterStage()]
    while graph[-1].name != name:
        undo(run, graph.pop())
    undo(run, graph[-1])
    return run, graph


def until_neighbors(chosen: Neighbors, mined: Run, folder: Path, tasks: int) -> tuple[Run, list[Stage]]:
    """The same for `neighbors`."""
    recipe = foldoc_recipe(folder / "run", neighbors=chosen)
    short = recipe.overridden("evaluation", {"choice_context": 32})  # else no job would take the recipe
    (folder / "recipe.yaml").write_text(dump_recipe(on_node3(short, tasks)))
    run = Run.of(load_recipe(folder / "recipe.yaml"))
    claim(run)
    shutil.copytree(mined.root, run.root, dirs_exist_ok=True)
    undo(run, NeighborsStage())
    return run, [EmbedStage(), NeighborsStage()]


def on_node3(recipe: Recipe, tasks: int) -> Recipe:
    """With an array in the partition of node3."""
    partitions = {"partition": "cpu", "cpu_partition": "cpu"}
    return recipe.overridden("slurm", {**partitions, "cpus_per_task": 1, "array_size": tasks})
