"""FLOPs by stage: those of the plan add up to its total, and what was processed as planned costs as much."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.planning.plan import make_plan
from megatron_sbp.planning.stage_flops import Processed, planned_flops, processed_flops, scann_flops, shared_flops
from megatron_sbp.planning.units import synthesizers_of
from megatron_sbp.recipe import Recipe, load_recipe

STUDY = Path(__file__).parents[2] / "examples" / "people" / "study.yaml"


@pytest.fixture(scope="module", params=[[], ["filter.min_similarity=0.3", "neighbors.engine=exact"]])
def recipe(request) -> Recipe:
    return load_recipe(STUDY, request.param)


def test_the_stages_of_a_plan_add_up_to_its_total(recipe):
    plan = make_plan(recipe)
    found = planned_flops(recipe, plan)
    assert sum(found.values()) == plan["total"]["flops"]
    assert {"embed", "train-sbp", "train-sbp.3", "tune.random.2", "synthesize.self"} <= found.keys()
    assert "synthesize.noise" not in found and "tune.noise" not in found  # replaced tokens need no model
    assert ("neighbors" in found) == ("compare.random.3" in found) == (recipe.neighbors.engine == "exact")


def test_what_is_processed_as_planned_costs_what_was_planned(recipe):
    plan = make_plan(recipe)
    synthesizers = synthesizers_of(recipe, plan)
    done = Processed(
        trained={arm: entry["samples"] for arm, entry in plan["arms"].items()},
        tuned={
            name: entry["tuning"]["max_steps"] * recipe.tuning.global_batch_size
            for name, entry in synthesizers.items()
            if entry["tuning"]
        },
        written={
            name: (entry["synthesis"]["generations"],
                   entry["synthesis"]["generations"] * entry["synthesis"]["tokens_per_generation"])
            for name, entry in synthesizers.items()
        },
    )  # fmt: skip
    found = shared_flops(recipe, plan)
    for number in range(1, recipe.replicates + 1):
        found |= processed_flops(recipe, plan, number, done)
    assert found == planned_flops(recipe, plan)


def test_half_the_work_costs_half_and_what_was_not_done_nothing(recipe):
    plan = make_plan(recipe)
    samples = plan["arms"]["sbp"]["samples"]
    found = processed_flops(recipe, plan, 2, Processed({"sbp": samples // 2}, {}, {"related": (0, 0)}))
    assert 2 * found["train-sbp.2"] == plan["arms"]["sbp"]["flops"] and found["synthesize.2"] == 0
    assert found.keys() - {"compare.2"} == {"train-sbp.2", "synthesize.2"}


def test_scann_compares_leaves_their_vectors_and_those_it_orders_again():
    audit = {"documents": 1000, "dim": 10, "leaves": 40, "leaves_to_search": 10, "reorder": 50}
    assert scann_flops(audit) == 2 * 10 * 1000 * (40 + 250 + 50)
    assert scann_flops({"documents": 1000, "dim": 10, "leaves": 0}) == 2 * 10 * 1000 * 1000, "brute force"
    assert scann_flops({}) is None
