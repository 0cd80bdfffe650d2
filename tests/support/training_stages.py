"""A run of the tiny recipe for the tests of training stages; nothing of it is there."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.run_folder import Run

TINY = Path(__file__).parents[1] / "end_to_end" / "recipe.yaml"


def run_of(tmp_path, *overrides: str) -> Run:
    return Run.of(load_recipe(TINY, [f"run_folder={tmp_path}/run", "tuning.start=last", *overrides]))
