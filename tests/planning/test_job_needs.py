"""What jobs request where the recipe does not say it."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.planning.job_needs import job_request
from megatron_sbp.recipe import Recipe, load_recipe
from megatron_sbp.recipe.sections import SlurmJobs
from megatron_sbp.recipe.time_limit import minutes_of
from megatron_sbp.stages.graph import all_stages
from megatron_sbp.stages.run_folder import Run

EXAMPLES = Path(__file__).parents[2] / "examples"


def request(*words: str, kind: str = "cpu", verb: str = "judge", gpus: int | None = 1) -> SlurmJobs:
    return job_request(recipe_with(*words), kind, [kind, verb], gpus)


def recipe_with(*words: str) -> Recipe:
    return load_recipe(EXAMPLES / "sbp_3b_200b" / "recipe.yaml", list(words))


def test_a_stage_requests_no_more_than_it_needs():
    assert (request().time, request().memory, request().cpus_per_task) == ("04:00:00", "16G", 2)
    assert request(verb="tokenize").cpus_per_task == 12
    report = request(verb="report")
    assert (report.time, report.memory, report.cpus_per_task) == ("01:00:00", "8G", 2)
    on_gpu = request(kind="gpu", verb="embed")
    assert (on_gpu.time, on_gpu.memory, on_gpu.partition) == ("12:00:00", "32G", "gpu")
    assert request().partition == "cpu"


CORES = {
    "documents": 24, "tokenizer": 12, "tokenize": 12, "embed": 12, "neighbors": 12, "pairs": 12, "compare": 12,
    "pilot": 12, "synthesize": 12, "tokenize-synthetic": 12, "evaluate": 12, "harness": 12, "tokenize-pairs": 4,
    "export-arms": 4, "export-synthesizer": 4, "judge": 2, "judge-pilot": 2, "index-corpus": 2, "scan-corpus": 2,
    "task-items": 2, "report": 2, "deduplicate": 1, "filter": 1,
}  # fmt: skip
"""Cores that the code of each stage can use, of 12 (24 of `documents`, for which the recipe asks)."""


def test_stages_that_use_few_cores_request_few():
    recipe = recipe_with("filter.max_corpus_copying=0.3", "filter.min_similarity=0.5")
    found = {}
    for stage in all_stages(recipe):
        kind = stage.device_for(Run.of(recipe))
        if kind != "training":
            names = [name for name in (kind, stage.asks_like, stage.name) if name]
            found[stage.name] = job_request(recipe, kind, names, 1).cpus_per_task
    assert found == CORES


def test_no_job_requests_more_memory_than_16_gb_and_32_on_a_gpu():
    """docs/scaling.md: whatever the corpus."""
    recipe = load_recipe(EXAMPLES / "sbp_6b_1t" / "recipe.yaml")
    for stage in all_stages(recipe):
        kind = stage.device_for(Run.of(recipe))
        if kind != "training":
            names = [name for name in (kind, stage.asks_like, stage.name) if name]
            memory = job_request(recipe, kind, names, 1).memory
            assert memory and int(memory.removesuffix("G")) <= {"cpu": 16, "gpu": 32}[kind], stage.name


def test_the_recipe_limits_time_and_cores():
    assert request("slurm.time='2:00:00'").time == "2:00:00" and request("slurm.time=0").time == "04:00:00"
    assert request("slurm.cpus_per_task=1", verb="report").cpus_per_task == 1
    assert request("slurm.time='2:00:00'", kind="training", verb="tune").time == "2:00:00"


@pytest.mark.parametrize(("words", "memory"), [("slurm.memory=99G", "99G"), ("slurm.memory=site", None)])
def test_memory_of_every_job(words, memory):
    assert request(words).memory == request(words, kind="training", verb="tune").memory == memory
    own = [words, "slurm.stages={judge: {memory: 7G}}"]
    assert request(*own).memory == "7G"
    assert request("slurm.memory=99G", "slurm.stages={judge: {memory: site}}").memory is None


def test_a_training_requests_the_memory_of_the_nodes_that_it_fills():
    assert request(kind="training", verb="train-sbp", gpus=8).memory == "0"
    assert request("launch.ranks_per_node=2", kind="training", verb="train-sbp", gpus=8).memory == "64G"
    assert request("slurm.gpus_per_node=null", kind="training", verb="train-sbp", gpus=None).memory is None


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("sbp_*/recipe.yaml")), ids=lambda file: file.parent.name)
def test_no_data_stage_of_the_recipes_requests_a_day(file):
    recipe = load_recipe(file)
    for stage in all_stages(recipe):
        if stage.device != "training":
            found = job_request(recipe, stage.device, [stage.device, stage.name.partition(".")[0]], 1)
            assert minutes_of(str(found.time)) <= 12 * 60 and found.memory is not None, stage.name
