"""Memory per rank and disk space: layouts add up, and what a recipe asks for more often is counted more often."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.planning.plan import make_plan
from megatron_sbp.planning.resources import plan_memory
from megatron_sbp.recipe import load_recipe

RECIPE = Path(__file__).parents[2] / "examples" / "sbp_3b_200b" / "recipe.yaml"


def recipe_of(*overrides: str):
    return load_recipe(RECIPE, [*overrides])


def disk(*overrides: str) -> dict[str, int]:
    return make_plan(recipe_of(*overrides))["disk"]


def test_the_ranks_are_the_product_of_the_layout():
    layout = ("launch.nodes=4", "launch.ranks_per_node=8", "launch.tensor_parallel=4", "launch.pipeline_parallel=2")
    found = plan_memory(recipe_of(*layout), 49_152)
    assert found["ranks"] == 32 == found["data_parallel"] * found["tensor_parallel"] * found["pipeline_parallel"]
    assert found["per_rank"] == found[found["chosen"]]["total"]
    parts = found["plain"]
    assert parts["total"] == sum(parts[name] for name in ("weights", "gradients", "optimizer", "activations"))


@pytest.mark.parametrize("chosen", [True, False])
def test_the_distributed_optimizer_is_counted_where_it_is_chosen(chosen):
    found = plan_memory(recipe_of(f"launch.distributed_optimizer={str(chosen).lower()}"), 49_152)
    assert found["chosen"] == ("distributed_optimizer" if chosen else "plain")
    assert found["distributed_optimizer"]["optimizer"] <= found["plain"]["optimizer"]


def test_the_total_is_the_sum():
    found = disk()
    parts = {name: size for name, size in found.items() if name not in ("total", "one_checkpoint")}
    assert found["total"] == sum(parts.values()) and min(parts.values()) > 0


def test_saving_more_often_and_more_replicates_take_more_room():
    usual = disk("training.save_interval=2000")
    often = disk("training.save_interval=1000")
    assert often["checkpoints"] > usual["checkpoints"] and often["exports"] == usual["exports"]
    replicated = disk("training.save_interval=2000", "replicates=3")
    assert replicated["exports"] == 3 * usual["exports"] and replicated["embeddings"] == usual["embeddings"]
    assert replicated["synthetic"] == pytest.approx(3 * usual["synthetic"], abs=3)


def test_more_neighbors_take_more_room():
    assert disk("neighbors.k=100")["neighbors"] * 2 == disk("neighbors.k=200")["neighbors"]


def test_a_small_vocabulary_is_stored_in_two_bytes():
    small, large = (disk(f"tokenizer.vocab_size={size}")["tokens"] for size in (49_152, 100_000))
    assert 1.9 < large / small <= 2.0
