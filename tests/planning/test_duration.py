"""Totals and wall time: sums and chains that can be added up by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.planning.plan import make_plan
from megatron_sbp.recipe import load_recipe

EXAMPLES = Path(__file__).parents[2] / "examples"


def plan(*overrides: str, name: str = "sbp_3b_200b"):
    return make_plan(load_recipe(EXAMPLES / name / "recipe.yaml", overrides))


def test_the_total_is_the_sum_of_everything():
    made = plan()
    total = made["total"]
    assert total["gpu_hours"] == pytest.approx(sum(total["gpu_hours_of"].values()))
    assert total["gpu_hours_of"]["arms"] == pytest.approx(sum(arm["gpu_hours"] for arm in made["arms"].values()))
    outside = made["embedding"]["flops"] + made["neighbors"]["exact_flops"] + made["tuning"]["max_flops"]
    assert total["flops"] == outside + made["synthesis"]["flops"] + sum(arm["flops"] for arm in made["arms"].values())
    assert plan("neighbors.engine=scann")["total"]["gpu_hours_of"]["neighbors"] == 0


def test_replicates_repeat_trainings_and_synthesis_but_not_pairing():
    once, thrice = (plan(f"replicates={count}")["total"]["gpu_hours_of"] for count in (1, 3))
    assert all(thrice[kind] == pytest.approx(3 * once[kind]) for kind in ("arms", "tuning", "synthesis"))
    assert thrice["embedding"] == once["embedding"]


def test_every_synthesizer_counts():
    one, two = plan(name="sbp_100m_2b"), plan("arms={baseline: {}, sbp: {synthetic: related}}", name="sbp_100m_2b")
    for kind in ("tuning", "synthesis"):
        assert one["total"]["gpu_hours_of"][kind] == pytest.approx(2 * two["total"]["gpu_hours_of"][kind])


def test_wall_time_by_hand():
    made = plan()
    stages, arm = made["time"]["stages"], made["arms"]["sbp"]["gpu_hours"] / 128
    assert stages["train-sbp"] == pytest.approx(arm)
    assert stages["synthesize"] == pytest.approx(made["synthesis"]["gpu_hours"] / 128)  # array tasks of a GPU each
    assert stages["embed"] == pytest.approx(made["embedding"]["gpu_hours"] / 123)  # no more than there are shards
    chain = arm + stages["tune"] + stages["synthesize"] + arm  # embedding ends long before the baseline does
    assert made["time"]["side_by_side"] == pytest.approx(chain)
    assert made["time"]["one_after_another"] == pytest.approx(sum(stages.values()))


def test_array_tasks_run_on_the_gpus_of_the_recipe():
    """512 tasks are two rounds of 256 GPUs."""
    made = plan(name="sbp_3b_1t")
    assert made["arrays"]["synthesize"]["tasks"] == 512 and made["hardware"]["gpus"] == 256
    assert made["time"]["stages"]["synthesize"] == pytest.approx(made["synthesis"]["gpu_hours"] / 256)
    for stage, kind in (("train-sbp", "arms"), ("synthesize", "synthesis")):
        assert made["time"]["stages"][stage] * 256 <= made["total"]["gpu_hours_of"][kind]


def test_a_start_from_scratch_does_not_wait_for_the_baseline():
    stages = plan("tuning.start=scratch")["time"]
    pairing = stages["stages"]["embed"] + stages["stages"]["neighbors"]
    rest = sum(stages["stages"][name] for name in ("tune", "synthesize", "train-sbp"))
    assert stages["side_by_side"] == pytest.approx(pairing + rest)


def test_more_nodes_take_less_time_and_as_many_gpu_hours():
    few, many = plan("launch.nodes=8"), plan("launch.nodes=16")
    assert few["time"]["stages"]["train-sbp"] == pytest.approx(2 * many["time"]["stages"]["train-sbp"])
    assert few["total"] == many["total"]
    assert few["checkpoint"]["write_seconds"] == pytest.approx(2 * many["checkpoint"]["write_seconds"])


def test_cpu_ranks_have_no_wall_time():
    made = plan(name="people")
    assert made["time"] is None and made["hardware"]["gpus"] is None


def test_arms_alone():
    made = plan("arms={baseline: {}}")
    assert made["total"]["gpu_hours_of"]["synthesis"] == 0 and "synthesize" not in made["time"]["stages"]


def test_a_checkpoint():
    made = plan()
    assert made["checkpoint"]["bytes"] == made["disk"]["one_checkpoint"] == 14 * made["model"]["parameters"]
    assert made["checkpoint"]["write_seconds"] == pytest.approx(made["checkpoint"]["bytes"] / 16e9)
