"""What is examined: this machine, and a recipe if one is given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.recipe import Recipe
from megatron_sbp.stages.run_folder import Run


@dataclass(frozen=True)
class Subject:
    """What the checks look at. Without a run they look at the machine alone."""

    run: Run | None = None

    @property
    def recipe(self) -> Recipe | None:
        """The run's recipe."""
        return None if self.run is None else self.run.recipe

    @property
    def wants_gpu(self) -> bool:
        """Whether the recipe uses GPUs if there are any; assumed without a recipe."""
        return self.recipe is None or self.recipe.launch.device != "cpu"

    @cached_property
    def plan(self) -> JsonObject:
        """The plan of the run."""
        from megatron_sbp.executor.preflight import plan_run

        assert self.run is not None
        return plan_run(self.run)

    @property
    def folder(self) -> Path:
        """Where files will be written: the run folder or its nearest existing parent; otherwise the current folder."""
        folder = Path.cwd() if self.run is None else self.run.root
        while not folder.exists():
            folder = folder.parent
        return folder
