"""What is questionable about jobs: each by an override, and silent otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.planning.job_limits import time_limit
from megatron_sbp.planning.plan import make_plan
from megatron_sbp.recipe import load_recipe

EXAMPLES = Path(__file__).parents[2] / "examples"
PAPER = EXAMPLES / "sbp_3b_200b" / "recipe.yaml"
TENSOR = ["launch.tensor_parallel=16", "model.num_attention_heads=32", "model.num_query_groups=16"]


@pytest.mark.parametrize(
    "overrides, words",
    [
        (["tuning.micro_batch_size=2", "tuning.sequence_length=32768"], "a rank needs about 229 GB (tune), more than"),
        (TENSOR, "launch.tensor_parallel 16 does not divide the 8 ranks of a node"),
        (
            ["slurm.gpus_per_node=4"],
            "slurm.gpus_per_node 4, launch.ranks_per_node 8: a training run has a rank for every GPU",
        ),
        (["slurm.stages={training: {gpus_per_node: 4}}"], "`sbp submit` will refuse that"),
        (
            ["launch.ranks_per_node=4"],
            "slurm.gpus_per_node 8, launch.ranks_per_node 4: a training run has a rank for every",
        ),
        (["slurm.array_size=2000"], "slurm.array_size 2,000 is more than the 1,000 tasks"),
        (["documents.documents_per_shard=1_000_000"], "embed: 15 units for up to 128 array tasks"),
        (["synthesis.generations_per_shard=1000"], "at least 1,189"),
        (["training.precision=fp32"], "training.precision is fp32: the hours here are those of bf16"),
        (["embedding.precision=fp32"], "embedding.precision is fp32"),
        (["synthesis.precision=fp32"], "synthesis.precision is fp32"),
        (["slurm.time=00:30:00"], "synthesize: a unit takes about 1 hours of a GPU and must end within"),
        (
            ["slurm.stages={synthesize: {time: '20'}}"],
            "must end within the time limit of 20: choose a smaller synthesis.",
        ),
        (
            ["slurm.stages={tokenize: {time: '00:00:01'}}"],
            "tokenize: a unit takes about 0.023 min on 12 cores and must",
        ),
        (["slurm.stages={judge: {time: '00:00:05'}}"], "00:00:05: choose a smaller synthesis.generations_per_shard"),
        (["slurm.stages={tokenize-pairs: {time: '00:00:10'}}"], "tokenize-pairs: a unit takes about 0.26 min"),
        (["slurm.stages={tokenizer: {time: '15'}}"], "tokenizer: it takes about 20 min on 12 cores and must end"),
        (["slurm.stages={documents: {time: '20', cpus_per_task: 8}}"], "the time limit of 20: choose more cores or"),
        (
            ["slurm.stages={}", "slurm.cpus_per_task=8"],
            "last step takes about 44 min on 8 cores; with 16 cores less than 30 min (slurm.stages: ",
        ),
        (["slurm.stages={pairs: {memory: 512M}}"], "of memory in its last step, and slurm.memory gives it 537 MB"),
        (
            ["slurm.stages={training: {memory: 128G}, tune: {memory: 512G}}"],
            "train-oracle: a job needs at least 263 GB",
        ),
        (["slurm.stages={evaluate: {memory: 512M}}"], "evaluate: a job needs at least"),
    ],
)
def test_each_by_its_override(overrides, words):
    found = make_plan(load_recipe(PAPER, overrides))["warnings"]
    assert len([line for line in found if words in line]) == 1, found


def test_a_unit_of_many_hours_and_one_generation():
    many = make_plan(load_recipe(PAPER, ["synthesis.generations_per_shard=1_000_000"]))["warnings"]
    assert [line for line in many if "synthesize: a unit takes about" in line and "e+" not in line]
    words = ["synthesis.tokens=4096", "synthesis.tokens_per_generation=1e5"]
    assert make_plan(load_recipe(PAPER, words))["synthesis"]["generations"] == 1


@pytest.mark.parametrize("name", sorted(file.parent.name for file in EXAMPLES.glob("sbp_*/recipe.yaml")))
def test_the_recipes_for_gpus_have_none(name):
    found = make_plan(load_recipe(EXAMPLES / name / "recipe.yaml"))["warnings"]
    assert not [line for line in found if "its unique tokens" not in line and "no true oracle" not in line]


def test_a_recipe_for_cpus_is_not_compared_with_gpus():
    found = make_plan(load_recipe(EXAMPLES / "people" / "recipe.yaml", ["slurm.time=00:00:01", "slurm.array_size=900"]))
    assert not [line for line in found["warnings"] if "unit" in line and "oracle" not in line]


def test_the_nearest_time_limit_counts():
    words = "slurm.stages={gpu: {time: '1:00:00'}, synthesize: {time: '2:00:00'}, synthesize.random: {time: '3:00:00'}}"
    recipe = load_recipe(EXAMPLES / "sbp_100m_2b" / "recipe.yaml", [words])
    assert [time_limit(recipe, stage)[0] for stage in ("embed", "synthesize", "synthesize.random")] == ["1", "2", "3"]


def test_no_time_limit_is_none_that_a_unit_could_miss():
    assert not [line for line in make_plan(load_recipe(PAPER, ["slurm.time=0"]))["warnings"] if "time limit" in line]
