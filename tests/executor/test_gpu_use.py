"""GPUs of a stage: what its processes compute on."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.executor.gpu_use import gpu_seconds, gpus_used
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.graph import all_stages
from megatron_sbp.stages.run_folder import Run

RECIPE = Path(__file__).parents[1] / "end_to_end" / "recipe.yaml"
TWO = {"CUDA_VISIBLE_DEVICES": "0,1"}


def used(tmp_path, stage: str, environment: dict[str, str], *changes: str) -> int:
    recipe = load_recipe(RECIPE, [f"run_folder={tmp_path}/run", "launch.device=cuda", *changes])
    found = next(one for one in all_stages(recipe) if one.name == stage)
    return gpus_used(Run.of(recipe), found, environment)


def test_trainings_use_those_of_all_ranks_and_other_stages_those_of_a_process(tmp_path):
    batches = [f"{section}.global_batch_size=24" for section in ("training", "tuning")]
    shape = ("launch.nodes=3", "launch.ranks_per_node=2", *batches)
    assert used(tmp_path, "train-sbp", TWO, *shape) == used(tmp_path, "tune", TWO, *shape) == 6
    assert used(tmp_path, "synthesize", TWO, *shape) == used(tmp_path, "embed", TWO) == 1
    vllm = ("synthesis.engine=vllm", "synthesis.vllm.tensor_parallel=2")
    assert used(tmp_path, "synthesize", TWO, *vllm) == 2
    assert used(tmp_path, "pairs", TWO) == 0


@pytest.mark.parametrize(("device", "environment"), [("cpu", TWO), ("cuda", {"CUDA_VISIBLE_DEVICES": ""})])
def test_on_cpus_there_are_none(tmp_path, device, environment):
    assert used(tmp_path, "train-sbp", environment, f"launch.device={device}") == 0


def test_torch_knows_best_where_the_device_is_left_to_it(tmp_path):
    import torch

    found = used(tmp_path, "embed", TWO, "launch.device=auto")
    assert found == int(torch.cuda.is_available())


def test_the_seconds_of_all_units_count_and_a_former_version_noted_none():
    units = [{"seconds": 2.0, "gpus": 4}, {"seconds": 1.5, "gpus": 0}, {"seconds": 0.25, "gpus": 1}]
    assert gpu_seconds(units) == {"gpu_seconds": 8.25} and gpu_seconds([]) == {"gpu_seconds": 0}
    assert gpu_seconds([*units, {"seconds": 9.0}]) == {}
