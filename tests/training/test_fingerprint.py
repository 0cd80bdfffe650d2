"""What makes a training stale, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.recipe import load_recipe
from megatron_sbp.training.fingerprint import arm_settings, changes_training, tuning_settings

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart" / "recipe.yaml"

BATCH = "tuning.global_batch_size=4"
"""Two micro-batches of two on two ranks."""


def both(*words: str) -> tuple[dict, dict]:
    recipe = load_recipe(QUICKSTART, words)
    return arm_settings(recipe), tuning_settings(recipe)


@pytest.mark.parametrize(
    "word",
    [
        "training.micro_batch_size=2", "training.precision=bf16", "training.eval_interval=7",
        "training.save_interval=9", "training.log_interval=3", "training.eval_sequences=16",
        "training.model_builder=hybrid", "training.tensorboard=false", "training.wandb_project=papers",
        "training.megatron={num-workers: 2, recompute-granularity: selective, exit-duration-in-mins: 3}",
        "training.megatron={recompute-granularity: full, recompute-method: block, recompute-num-layers: 1}",
        "tuning.micro_batch_size=2",
        "training.megatron={decoder-first-pipeline-num-layers: 1, account-for-loss-in-pipeline-split: true}",
        "training.megatron={distrib-optim-fully-reshardable-mem-efficient: true}",
    ],
)  # fmt: skip
def test_how_a_training_is_done_does_not_count(word):
    assert both(BATCH, word) == both(BATCH)


@pytest.mark.parametrize(
    ("word", "arms", "tuning"),
    [
        ("training.weight_decay=0.3", True, False),
        ("training.train_tokens=700_000", True, False),
        ("training.learning_rate=1e-3", True, False),
        ("training.clip_grad=0.5", True, True),
        ("training.adam_beta2=0.9", True, True),
        ("training.megatron={attention-dropout: 0.1}", True, True),
        ("tuning.learning_rate=7e-4", False, True),
        ("tuning.eval_interval=7", False, True),  # it decides when the tuning stops
        ("tuning.weight_decay=0.3", False, True),
    ],
)
def test_what_is_computed_counts(word, arms, tuning):
    now, before = both(word), both()
    assert (now[0] != before[0], now[1] != before[1]) == (arms, tuning)


def test_an_unknown_flag_counts():
    assert changes_training("a-flag-of-tomorrow") and changes_training("hidden-dropout")
    assert not changes_training("log-throughput") and not changes_training("async-save")
