"""The planned cost of embedding and searching."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.planning import plan
from megatron_sbp.recipe import load_recipe


def test_the_exact_search_multiplies_in_tf32():
    """2 N^2 d FLOPs at 40 % of half the peak of bf16: 198 TFLOP/s of an H100."""
    recipe = load_recipe(Path(__file__).parents[2] / "examples" / "sbp_3b_1t" / "recipe.yaml")
    found, flops = plan.make_plan(recipe)["neighbors"], 2 * 1024 * (60_386_000**2 + 20_000**2)
    assert found["exact_flops"] == flops
    assert found["exact_gpu_hours"] == pytest.approx(flops / (0.4 * 989e12 / 2) / 3600)
