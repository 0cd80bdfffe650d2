"""Flags that contradict the plan are refused, and none that the plan sets is forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.recipe import load_recipe
from megatron_sbp.recipe.checks import value_of
from megatron_sbp.recipe.planned_flags import FIXED, OVERRIDABLE, RECIPE_KEYS
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.training_stage import arguments_of

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/recipe.yaml"))
BATCHES = ("training.global_batch_size=2048", "tuning.global_batch_size=2048")
QUICKSTART = next(file for file in EXAMPLES if file.parent.name == "quickstart")


def test_every_flag_of_a_training_is_classified():
    """A flag that training/flags.py sets is decided by a recipe key, fixed, or may be replaced."""
    used = set()
    for file in EXAMPLES:
        for words in (
            [],
            ["tuning.start=model", "launch.device=auto", "launch.context_parallel=2", "launch.ranks_per_node=16"],
        ):
            run = Run.of(load_recipe(file, ["training.megatron={}", *BATCHES, *words]))
            for training in (*run.recipe.arms, "synthesizer"):
                used |= {word[2:] for word in arguments_of(run, training) if word.startswith("--")}
    classes = [set(RECIPE_KEYS), set(FIXED), set(OVERRIDABLE)]
    assert used <= set.union(*classes)
    assert not classes[0] & classes[1] and not (classes[0] | classes[1]) & classes[2]
    assert set(OVERRIDABLE) <= used


def test_the_keys_that_are_named_exist():
    recipe = load_recipe(QUICKSTART)
    for key in RECIPE_KEYS.values():
        value_of(recipe, key)


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("train-samples", "contradicts the plan: give training.train_tokens instead"),
        ("train-iters", "give training.train_tokens instead"),
        ("global-batch-size", "give training.global_batch_size instead"),
        ("seq-length", "give model.sequence_length instead"),
        ("seed", "give seed instead"),
        ("lr", "give training.learning_rate instead"),
        ("train_samples", "give training.train_tokens instead"),
        ("rampup-batch-size", "give training.global_batch_size instead"),
        ("data-path", "the datasets are the run's own"),
        ("eod-mask-loss", "the datasets are the run's own"),
        ("reset-attention-mask", "the datasets are the run's own"),
        ("tensorboard-dir", "give training.tensorboard instead"),
        ("wandb-exp-name", "a directory and a name of its own"),
        ("iterations-to-skip", "every arm consumes all that is planned"),
        ("load", "the run decides where checkpoints are"),
        ("--log-interval", "without leading dashes"),
        ("log-interval=3", "without leading dashes and without a value: 'log-interval'"),
    ],
)
def test_contradictions(tmp_path, flag, words):
    file = tmp_path / "recipe.yaml"
    text = QUICKSTART.read_text().replace("log_interval: 5\n", f"log_interval: 5\n  megatron:\n    {flag}: 5\n")
    file.write_text(text)
    line = text[: text.index(f"    {flag}: 5")].count("\n") + 1
    with pytest.raises(InputError) as caught:
        load_recipe(file)
    assert words in str(caught.value)
    assert (caught.value.file, caught.value.line, caught.value.key) == (file, line, f"training.megatron.{flag}")


def test_harmless_flags_override():
    recipe = load_recipe(QUICKSTART, ["training.megatron={log-interval: 3, optimizer: sgd, num-workers: 0}"])
    words = arguments_of(Run.of(recipe), "baseline")
    assert words[words.index("--log-interval") + 1] == "3" and words[words.index("--optimizer") + 1] == "sgd"


@pytest.mark.parametrize(
    "given, missing",
    [
        ("", "recompute-method"),
        ("recompute-method: block", "recompute-num-layers"),
        ("recompute-num-layers: 1", "recompute-method"),
    ],
)
def test_full_recomputation_says_of_which_layers(given, missing):
    with pytest.raises(InputError, match=f"full requires {missing}") as caught:
        load_recipe(QUICKSTART, [f"training.megatron={{recompute-granularity: full, {given}}}"])
    assert caught.value.key == "training.megatron.recompute-granularity"
    for layers in (1, "'12'"):
        flags = f"{{recompute-granularity: full, recompute-method: uniform, recompute-num-layers: {layers}}}"
        load_recipe(QUICKSTART, [f"training.megatron={flags}"])
    for layers in ("0", "many", "1.5", "true", "-1"):
        flags = f"{{recompute-granularity: full, recompute-method: uniform, recompute-num-layers: {layers}}}"
        with pytest.raises(InputError, match="must be a whole number above 0"):
            load_recipe(QUICKSTART, [f"training.megatron={flags}"])
    load_recipe(QUICKSTART, ["training.megatron={recompute-granularity: selective}"])
