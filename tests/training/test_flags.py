"""Megatron's command line, made from the recipe."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from megatron_sbp.planning import ledger
from megatron_sbp.recipe import Recipe, load_recipe
from megatron_sbp.training.flags import megatron_arguments, training_name

RECIPE = Path(__file__).resolve().parents[1] / "end_to_end" / "recipe.yaml"


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe(RECIPE)


def words_of(recipe: Recipe, training: str, **more) -> list[str]:
    folder = Path("/run/models") / training
    return megatron_arguments(recipe, training, folder=folder, tokenizer=Path("/run/tokenizer"), **more)


def test_paths_are_the_callers(recipe):
    words = words_of(recipe, "synthesizer", start=Path("/start"), samples=96)
    given = dict(itertools.pairwise(words))
    assert given["--sbp-data"] == "/run/models/synthesizer/data.json"
    assert given["--load"] == given["--save"] == "/run/models/synthesizer"
    assert (given["--tokenizer-model"], given["--pretrained-checkpoint"]) == ("/run/tokenizer", "/start")
    assert given["--train-samples"] == "96"
    assert "PACKED_SEQUENCES" in words_of(recipe, "synthesizer")
    assert "--pretrained-checkpoint" not in words_of(recipe, "baseline", start=Path("/start"))


def test_the_arms_have_the_same_samples_on_megatrons_command_line(recipe):
    words = {arm: words_of(recipe, arm) for arm in ("baseline", "sbp", "oracle")}
    same = {arm: words[arm][words[arm].index("--train-samples") + 1] for arm in words}
    assert set(same.values()) == {str(ledger.train_samples(recipe))}
    for arm in words:
        text = " ".join(words[arm]).replace(f"/{arm}", "/ARM")
        assert text == " ".join(words["baseline"]).replace("/baseline", "/ARM"), "only the folders may differ"


def test_megatron_flags_of_the_recipe_pass_through(recipe):
    recipe.training.megatron = {"recompute-granularity": "full", "async-save": True, "log-throughput": False}
    words = words_of(recipe, "baseline")
    assert words[words.index("--recompute-granularity") + 1] == "full"
    assert "--async-save" in words and "--log-throughput" not in words


def test_checkpoints_that_are_read_at_the_end_of_a_training_are_kept(recipe):
    """--save-retain-interval removes those of a tuning, of an arm that keeps its best, and those of recall points."""
    recipe.training.megatron = {"save-retain-interval": recipe.training.save_interval * 10}
    recipe.evaluation.recall_points = 0
    assert "--save-retain-interval" in words_of(recipe, "baseline")
    assert "--save-retain-interval" not in words_of(recipe, "synthesizer")
    recipe.tuning.start = "best"
    assert "--save-retain-interval" not in words_of(recipe, "baseline")
    assert "--save-retain-interval" in words_of(recipe, "oracle")
    recipe.evaluation.recall_points = 2
    assert "--save-retain-interval" not in words_of(recipe, "oracle")


def test_every_training_has_a_place_and_a_name_of_its_own_in_tensorboard_and_wandb(recipe):
    given = dict(itertools.pairwise(words_of(recipe, "sbp")))
    assert given["--tensorboard-dir"] == "/run/models/sbp/tensorboard" and "--wandb-project" not in given
    recipe.training.tensorboard, recipe.training.wandb_project = False, "papers"
    given = dict(itertools.pairwise(words_of(recipe, "synthesizer")))
    assert "--tensorboard-dir" not in given and given["--wandb-project"] == "papers"
    assert given["--wandb-exp-name"] == f"{recipe.name}/synthesizer"
    assert given["--wandb-save-dir"] == "/run/models/synthesizer/wandb"


@pytest.mark.parametrize(
    ("folder", "name"),
    [("models/sbp", "sbp"), ("replicates/2/models/sbp", "2/sbp"), ("synthesizers/random/models/synthesizer",
     "random/synthesizer"), ("replicates/2/synthesizers/random/models/synthesizer", "2/random/synthesizer")],
)  # fmt: skip
def test_names_of_trainings(folder, name):
    assert training_name(Path("/somewhere/run") / folder) == name
    assert training_name(Path("/somewhere/run/work/train-sbp") / folder) == name
