"""What jobs may use: the most specific override wins, as in the executor, and Slurm's sizes are read as Slurm does."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from megatron_sbp.executor.slurm_request import asked_of
from megatron_sbp.planning.job_limits import cpus_of, kind_of, memory_limit, time_limit
from megatron_sbp.planning.plan import make_plan
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.graph import all_stages
from megatron_sbp.stages.run_folder import Run

RECIPE = Path(__file__).parents[2] / "examples" / "sbp_100m_2b" / "recipe.yaml"


@pytest.mark.parametrize(
    ("written", "size"),
    [("64G", 64 << 30), ("64000", 64_000 << 20), ("512mb", 512 << 20), ("2T", 2 << 40), ("900K", 900 << 10),
     ("0", math.inf), ("site", math.inf), ("null", 16 << 30)],
)  # fmt: skip
def test_memory_as_slurm_takes_it(written, size):
    assert memory_limit(load_recipe(RECIPE, [f"slurm.memory={written}"]), "tokenize", "cpu") == size


@pytest.mark.parametrize("engine", ["exact", "scann"])
def test_every_counted_stage_asks_what_the_executor_asks(engine):
    words = [
        f"neighbors.engine={engine}",
        "slurm.memory=10G",
        "slurm.stages={cpu: {time: '1:00:00', cpus_per_task: 3}, gpu: {time: '2:00:00', memory: 20G}, "
        "training: {memory: 30G}, judge: {memory: 40G}, judge.random: {time: '3:00:00'}, synthesize: {time: '9'}}",
    ]
    recipe = load_recipe(RECIPE, words)
    run, plan = Run.of(recipe), make_plan(recipe)
    stages = {stage.name: stage for stage in all_stages(recipe)}
    counted = {*plan["host_memory"], *plan["cpu"], *plan["arrays"]}
    assert counted <= stages.keys() and "judge.random" in counted and "pilot" in counted
    for name in counted:
        asked, _ = asked_of(run, stages[name])
        kind = kind_of(recipe, name)
        assert kind == stages[name].device_for(run)
        assert time_limit(recipe, name, kind) == asked.time
        assert memory_limit(recipe, name, kind) == int(asked.memory.removesuffix("G")) << 30
        if kind == "cpu":
            assert cpus_of(recipe, name) == asked.cpus_per_task
