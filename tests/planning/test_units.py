"""Units, array tasks, and files: what the stages themselves make of the same recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.planning.plan import make_plan
from megatron_sbp.recipe import load_recipe

EXAMPLES = Path(__file__).parents[2] / "examples"


def plan(*overrides: str, name: str = "sbp_3b_200b"):
    return make_plan(load_recipe(EXAMPLES / name / "recipe.yaml", overrides))


def test_units_by_hand():
    """12,077,000 documents of D in shards of 100,000 are 121, valid and test one each, the oracle's
    2,300. The exact search has 32 tasks for D and one for valid; pairs are mined shard by shard. 75e9 tokens are
    1.05 x 75e9 / 0.8 / 828 generations, of which a shard is the pilot."""
    found = plan()["arrays"]
    assert found["embed"] == {"units": 123, "tasks": 123} and found["neighbors"]["units"] == 32 + 1
    assert found["pairs"]["units"] == 122
    # 4 pairs a document: 48,308,000 and 4,000 of valid. Three arms; quality and reading of a synthesizer.
    assert found["tokenize-pairs"]["units"] == 49 + 1
    assert found["deduplicate"]["units"] == 33 and found["evaluate"]["units"] == 3 + 2
    assert found["tokenize"] == {"units": 121 + 2300 + 2, "tasks": 128}
    assert found["synthesize"]["units"] == -(-118_885_870 // 32_768) == found["judge"]["units"]
    assert found["pilot"] == {"units": 1, "tasks": 1} and "judge-pilot" not in found
    assert "pilot" not in plan("synthesis.pilot=0")["arrays"]


def test_generations_of_a_plan_that_knows_the_pilot():
    """Without it 80 % of the tokens are taken to pass; then what it measured counts, and texts of its mean length."""
    length = plan()["synthesis"]["tokens_per_generation"]
    for margin in (1.05, 1.2):
        assumed = plan(f"synthesis.margin={margin}")["synthesis"]
        assert assumed["generations"] == pytest.approx(75e9 * margin / 0.8 / length, abs=1)
    counted = plan("synthesis.pilot=0", "synthesis.stop=passed")["synthesis"]
    assert counted["generations"] == plan()["synthesis"]["generations"]
    pilot = {"tokens_per_generation": 600.0, "written_per_generation": 800.0}
    recipe = load_recipe(EXAMPLES / "sbp_3b_200b" / "recipe.yaml", [])
    known = make_plan(recipe, {"synthesizers": {"related": {"pilot": pilot}}})["synthesis"]
    assert known["generations"] == pytest.approx(75e9 * 1.05 / 600, abs=1) and known["from"] == "measured"
    assert known["planned_tokens"] == pytest.approx(known["generations"] * 800, rel=1e-6)


def test_every_synthesizer_has_its_own():
    found = plan(name="sbp_100m_2b")["arrays"]
    assert found["synthesize.random"] == found["synthesize"] and "pairs.random" in found


def test_an_index_of_the_corpus_has_units_files_and_space():
    """9.8e9 shingles: a quarter of them takes 10 GB, and an eighth 5.5 GB, in 16 parts of at most 2^27."""
    assert "index-corpus" not in plan()["arrays"] and "corpus_index" not in plan()["disk"]
    found = plan("filter.max_corpus_copying=0.3")
    units = found["arrays"]["index-corpus"]["units"]
    assert units == 16 and found["files"]["corpus_index"] == 33 and found["disk"]["corpus_index"] == 5_458_248_412
    assert found["disk"]["total"] == plan()["disk"]["total"] + found["disk"]["corpus_index"]
    quiet = "filter.contaminated=null"  # else measures are written in any case
    index = "filter.max_corpus_copying=0.3"
    assert plan(quiet, index)["files"]["synthetic"] > plan(quiet)["files"]["synthetic"]


def test_comparing_generations_has_units_files_and_hours():
    """118 million generations of 828 tokens, of which the embedder reads at most its own limit."""
    assert "compare" not in plan()["arrays"] and plan()["synthesis"]["compare_gpu_hours"] == 0
    found, before = plan("filter.min_similarity=0.5"), plan()
    assert found["arrays"]["compare"] == found["arrays"]["synthesize"]
    embedding, synthesis = found["embedding"], found["synthesis"]
    ratio = synthesis["generations"] / embedding["documents"]
    assert synthesis["compare_flops"] == pytest.approx(ratio * embedding["flops"], rel=1e-3)
    more = found["total"]["gpu_hours_of"]["embedding"] - before["total"]["gpu_hours_of"]["embedding"]
    assert more == pytest.approx(synthesis["compare_gpu_hours"]) and more > 1
    assert found["time"]["stages"]["compare"] == pytest.approx(synthesis["compare_gpu_hours"] / 128)
    assert found["files"]["synthetic"] > before["files"]["synthetic"]


def test_files_add_up_and_follow_the_shards():
    large, small = plan()["files"], plan("documents.documents_per_shard=50_000")["files"]
    assert large["total"] == sum(count for kind, count in large.items() if kind != "total")
    assert small["embeddings"] == 242 + 2 and small["total"] > large["total"]
    more = plan("training.save_interval=500")["files"]
    assert more["checkpoints"] > large["checkpoints"] and more["documents"] == large["documents"]


def test_an_oracle_of_unknown_size():
    assert plan("documents.oracle=null")["arrays"]["tokenize"]["units"] == 123


def test_a_tuning_has_few_of_its_checkpoints_on_disk():
    """48,308,000 pairs of 1,657 tokens are 76,339 steps of 256 x 4,096: 39 evaluations, each with a checkpoint. Three
    stay while another is written. The oracle, of 24 checkpoints, may be training beside it; baseline and SBP, or both
    synthesizers, have one then. With an interval of 20,000 steps the tuning has four evaluations, with 40,000 two."""
    found = plan("tuning.eval_interval=2000")
    assert found["tuning"]["max_steps"] == 76_339
    baseline = found["checkpoint"]["on_disk"] - 24 - 2
    assert baseline == 24  # more than those of the tuning: the baseline may be training beside the oracle
    few = "training.save_interval=200_000"
    assert [
        plan(few, f"tuning.eval_interval={steps}")["checkpoint"]["on_disk"] for steps in (250, 2000, 20_000, 40_000)
    ] == [4 + 1 + 2, 4 + 1 + 2, 4 + 1 + 2, 2 + 1 + 2]
    assert found["disk"]["checkpoints"] == (24 + 24 + 2) * found["disk"]["one_checkpoint"]
