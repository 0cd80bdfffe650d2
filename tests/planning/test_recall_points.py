"""Checkpoints on which recall is measured are evenly spaced, and are among those that a training saves anyway."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.planning import ledger
from megatron_sbp.planning.recall_points import recall_interval, recall_iterations
from megatron_sbp.recipe import Recipe, load_recipe
from megatron_sbp.training.flags import megatron_arguments

PEOPLE = Path(__file__).parents[2] / "examples" / "people" / "recipe.yaml"


def load(*words: str) -> Recipe:
    return load_recipe(PEOPLE, words)


def steps(recipe: Recipe) -> int:
    return ledger.train_samples(recipe) // recipe.training.global_batch_size


def saved_every(recipe: Recipe, arm: str) -> int:
    words = megatron_arguments(recipe, arm, folder=Path("/m"), tokenizer=Path("/t"))
    return int(dict(itertools.pairwise(words))["--save-interval"])


def test_nothing_is_measured_unless_asked():
    recipe = load("evaluation.recall_points=0", "training.save_interval=700")
    assert recall_interval(recipe, "sbp") is None and recall_iterations(recipe, "sbp") == []
    assert saved_every(recipe, "sbp") == 700


@pytest.mark.parametrize("points", [1, 4, 7])
def test_evenly_spaced(points):
    recipe = load(f"evaluation.recall_points={points}", "training.save_interval=100000")
    every = recall_interval(recipe, "sbp")
    assert every == steps(recipe) // points == saved_every(recipe, "sbp")
    found = recall_iterations(recipe, "sbp")
    assert found == list(range(every, steps(recipe) - every // 2, every)) and len(found) == points - 1


def test_those_that_are_saved_anyway():
    recipe = load("evaluation.recall_points=6", "training.save_interval=70")
    every = recall_interval(recipe, "sbp")
    assert every % 70 == 0 and 0 <= steps(recipe) // 6 - every < 70 and saved_every(recipe, "sbp") == 70
    # A baseline whose best checkpoint a synthesizer starts from saves at every evaluation.
    recipe = load("evaluation.recall_points=6", "tuning.start=best", "training.eval_interval=90")
    assert recall_interval(recipe, "baseline") % 90 == 0 and saved_every(recipe, "baseline") == 90


def test_more_points_than_steps():
    recipe = load("evaluation.recall_points=1000000000")
    assert recall_interval(recipe, "sbp") == 1 and len(recall_iterations(recipe, "sbp")) == steps(recipe) - 1


def test_recall_needs_questions():
    with pytest.raises(InputError, match=r"'evaluation.recall_points': is set, but evaluation.questions names no file"):
        load("evaluation.questions=null", "evaluation.question_group_field=null", "evaluation.recall_points=3")


@pytest.mark.parametrize("points", [0, 6, 1000])
def test_a_best_checkpoint_is_saved_whatever_else_is(points):
    """It is one of an evaluation: each of these needs its checkpoint."""
    words = (f"evaluation.recall_points={points}", "tuning.start=best", "training.eval_interval=90")
    for save_interval in (20, 100_000):
        recipe = load(*words, f"training.save_interval={save_interval}")
        assert saved_every(recipe, "baseline") == 90
        assert all(number % 90 == 0 for number in recall_iterations(recipe, "baseline"))
