"""What is questionable about a plan: told once, with both numbers, and silent where all is well."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.planning.plan import make_plan
from megatron_sbp.recipe import load_recipe

RECIPE = Path(__file__).parents[2] / "examples" / "sbp_3b_200b" / "recipe.yaml"
KNOWN = {"real": {"documents": 12_077_000, "tokens": 10**10}, "oracle": {"documents": 3 * 10**8, "tokens": 3 * 10**11}}


def warnings(*overrides: str, **measured) -> list[str]:
    return make_plan(load_recipe(RECIPE, [*overrides]), {**KNOWN, **measured})["warnings"]


def test_the_papers_recipe_has_none():
    assert warnings() == []


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["training.learning_rate=5e-3"], "training.learning_rate 0.005 is too high for AdamW"),
        (["synthesis.tokens=150e9"], "sbp: 75.0 % of its tokens are synthetic, more than half"),
        (["launch.context_parallel=2"], "launch.context_parallel: the tuning will be refused"),
        (["model.num_layers=80", "launch.distributed_optimizer=false"], "a rank needs about"),
    ],
)
def test_each_by_its_override(overrides, words):
    found = warnings(*overrides)
    assert len([line for line in found if words in line]) == 1, found


def test_another_optimizer_may_have_a_high_rate():
    assert not any(
        "AdamW" in line for line in warnings("training.learning_rate=1e-2", "training.megatron={optimizer: sgd}")
    )


def test_an_oracle_that_repeats_and_a_baseline_that_does_not():
    found = warnings(oracle={"documents": 10**8, "tokens": 10**11})
    assert any("oracle: 100B unique tokens for a budget of 200B: it repeats them 2.00 times" in line for line in found)
    found = warnings(real={"documents": 10**9, "tokens": 10**12})
    assert any(line.startswith("baseline: 0.20 epochs of D: nothing is repeated") for line in found)


def test_measurements_that_belong_to_something_else_are_named():
    assert "tokens/audit.json" in warnings(others=["tokens/audit.json"])[0]


@pytest.mark.parametrize(
    "train, oracle, alike", [(40, "null", True), (39, "null", False), (30, "0", True), (30, "5", False)]
)
def test_an_oracle_without_further_documents(train, oracle, alike):
    sizes = {"train": train, "oracle": oracle, "valid": 10, "test": 10}
    recipe = load_recipe(RECIPE, [f"documents.{split}={size}" for split, size in sizes.items()])
    sample = {"file": "a.jsonl", "documents": 60, "bytes": 81.0, "corpus": 60}
    told = make_plan(recipe, sample=sample)["warnings"]
    assert any(f"oracle: no documents are left beside D ({train})" in warning for warning in told) == alike


def test_a_corpus_that_is_known_to_be_too_small():
    recipe = load_recipe(
        RECIPE, ["documents.train=41", "documents.oracle=0", "documents.valid=10", "documents.test=10"]
    )
    sample = {"file": "a.jsonl", "documents": 60, "bytes": 81.0, "corpus": 60}
    told = make_plan(recipe, sample=sample)["warnings"]
    assert "documents: the run will be refused: its splits take 61, and the corpus has 60" in told


def test_where_nothing_is_tuned_no_tuning_is_refused():
    arms = "arms={baseline: {}, oracle: {documents: oracle}}"
    assert not [line for line in warnings("launch.context_parallel=2", arms) if "tuning" in line]
