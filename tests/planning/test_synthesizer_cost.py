"""The planned cost of tuning and synthesis, from pairs that were measured."""

from __future__ import annotations

from support.planned_recipe import recipe_of

from megatron_sbp.planning import plan


def test_pairs_that_were_measured(tmp_path):
    recipe = recipe_of(tmp_path)
    pairs = {"pairs": 300, "seed_tokens": 9_000, "target_tokens": 12_000, "mean_target_tokens": 40.0}
    real = {"documents": 1000, "tokens": 50_000}
    made = plan.make_plan(recipe, {"real": real, "synthesizers": {"related": {"pairs": pairs}}, "vocab_size": 1503})
    assert made["arms"]["baseline"]["real_epochs"] == 784 * 128 / 50_000
    assert made["arms"]["baseline"]["unique_real_tokens"] == 50_000
    assert made["model"]["padded_vocab_size"] == 1536
    assert made["tuning"]["tokens"] == 21_300 and made["tuning"]["from"] == "measured"
    assert made["synthesis"]["generations"] == round(30_000 * 1.3 / 40)


def test_a_tuning_has_at_most_the_steps_of_the_plan(tmp_path):
    """One pair of 110 tokens is one sequence; passes over it fill a first global batch and begin a second one."""
    pairs = {"pairs": 1, "seed_tokens": 60, "target_tokens": 49, "mean_target_tokens": 49}
    batch = recipe_of(tmp_path).tuning.global_batch_size
    recipe = recipe_of(tmp_path, f"tuning.max_epochs={batch + 1}")
    made = plan.make_plan(recipe, measured={"synthesizers": {recipe.used_synthesizers[0]: {"pairs": pairs}}})
    assert made["tuning"]["tokens"] == 110 and made["tuning"]["max_steps"] == 2
