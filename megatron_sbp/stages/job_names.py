"""The names that `slurm.stages` may have: kinds of jobs, verbs, and stages."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from megatron_sbp.recipe import Recipe
from megatron_sbp.stages.stage import Stage

KINDS = ("cpu", "gpu", "training")


def check_job_names(recipe: Recipe, stages: Sequence[Stage]) -> None:
    """Raises InputError for a name in `slurm.stages` that no job of these stages has."""
    known = {*KINDS, *(stage.name for stage in stages), *(stage.name.partition(".")[0] for stage in stages)}
    for name in recipe.slurm.stages:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise recipe.error(f"slurm.stages.{name}", f"there is no stage and no kind of job of that name{hint}")
