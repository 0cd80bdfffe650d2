"""The arms are equal to the sample."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from megatron_sbp.planning import ledger
from megatron_sbp.recipe import load_recipe

RECIPE = load_recipe(Path(__file__).parents[2] / "examples" / "sbp_3b_200b" / "recipe.yaml")


def test_paper_200b():
    """200B tokens in batches of 2,048 x 4,096 are 23,842 steps; 75B tokens are 18,310,546 whole sequences."""
    total = 23_842 * 2_048
    assert ledger.arm_samples(RECIPE, "baseline") == {"real": total}
    assert ledger.arm_samples(RECIPE, "oracle") == {"oracle": total}
    assert ledger.arm_samples(RECIPE, "sbp") == {"real": total - 18_310_546, "synthetic": 18_310_546}


def test_arms_are_equal_for_any_recipe():
    """Budget rounded up to whole batches, by less than one; synthetic tokens rounded down, by less than a sequence."""
    draw = random.Random(1)
    for _ in range(300):
        batch, length = draw.randint(1, 512), draw.randint(1, 4096)
        budget = draw.randint(2, 10**10)
        synthetic = draw.randint(1, budget - 1)
        recipe = RECIPE.model_copy(deep=True)
        recipe.model.sequence_length = length
        recipe.training.train_tokens, recipe.training.global_batch_size = budget, batch
        recipe.synthesis.tokens = synthetic
        arms = {arm: ledger.arm_samples(recipe, arm) for arm in recipe.arms}
        totals = {sum(parts.values()) for parts in arms.values()}
        assert len(totals) == 1
        total = totals.pop()
        assert total % batch == 0
        assert 0 <= total * length - budget < batch * length
        assert 0 <= synthetic - arms["sbp"]["synthetic"] * length < length
        assert arms["sbp"]["real"] >= 0


def test_unknown_arm():
    with pytest.raises(ValueError, match="unknown arm 'synthesizer'"):
        ledger.arm_samples(RECIPE, "synthesizer")
