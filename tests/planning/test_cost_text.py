"""Costs of a plan in lines: units, what is left out, and what is put together."""

from __future__ import annotations

from typing import Any

import pytest

from megatron_sbp.planning.cost_text import arrays, cpu_time, host_memory, memory_of, rates, totals

HARDWARE = {
    "gpu": "H100", "gpu_from": "assumed", "peak_flops": 989e12, "device_bytes": 80e9, "mfu": 0.4, "mfu_from": "assumed",
    "generation_mfu": 0.05, "generation_mfu_from": "given", "nodes": 2, "gpus": 16,
}  # fmt: skip
TIME = {
    "stages": {"embed": 0.5, "train-baseline": 30.0, "train-sbp": 30.0, "tune": 0.001, "synthesize": 100.0},
    "one_after_another": 160.5,
    "side_by_side": 47.25,
}


def plan(time: dict[str, Any] | None = TIME, **hardware) -> dict[str, Any]:
    hours = {"training": 2582.4, "tuning": 0.0, "writing": 3.25}
    return {
        "hardware": {**HARDWARE, **hardware}, "total": {"gpu_hours": 2585.65, "gpu_hours_of": hours}, "time": time,
    }  # fmt: skip


def test_gpu_hours_by_kind_without_those_that_cost_nothing():
    assert totals(plan(time=None)) == ["in all      2,586 H100-hours *: training 2,582 + writing 3.2"]


def test_arms_take_the_same_time_and_stages_of_less_than_a_minute_none():
    text = "\n".join(totals(plan()))
    assert "2 nodes x 8 GPUs (from the recipe): 6.69 days one stage after another" in text
    assert "47.2 h with nodes for all that can run side by side" in text
    assert "embed 30 min, an arm 30 h, synthesize 4.17 days; stages on CPUs" in text and "tune" not in text


def test_years_are_whole_days():
    text = "\n".join(totals(plan({**TIME, "one_after_another": 37_500.0, "side_by_side": 2399.0})))
    assert ": 1,562 days one stage after another" in text and "100 days with nodes" in text


def test_one_node_and_one_gpu():
    assert any("1 node x 1 GPU (from the recipe)" in line for line in totals(plan(nodes=1, gpus=1)))


def test_trainings_of_one_size_share_a_line():
    sizes = {"train-baseline": 21e9, "train-sbp": 21.04e9, "tune": 9e9}
    found = memory_of({stage: {"total": size} for stage, size in sizes.items()})
    assert found == ["  21 GB on a rank: train-baseline, train-sbp", "  9 GB on a rank: tune"]


def test_arrays_of_one_width_share_a_place_and_replicates_a_name():
    found = arrays(
        {
            "embed": {"units": 1200, "tasks": 64},
            "judge": {"units": 7, "tasks": 7},
            "judge.2": {"units": 7, "tasks": 7},
            "neighbors": {"units": 1200, "tasks": 64},
        }
    )
    assert found == ["units of a stage in array tasks: 1,200 in 64 (embed, neighbors), 7 in 7 (judge)"]


@pytest.mark.parametrize("stages", [30, 300])
def test_lines_are_no_wider_than_a_terminal_and_lose_nothing(stages):
    names = [f"stage-number-{number}" for number in range(stages)]
    for lines in (
        arrays({name: {"units": 9, "tasks": 3} for name in names}),
        memory_of({name: {"total": 9e9} for name in names}),
    ):
        assert len(lines) > 1 and max(map(len, lines)) <= 104
        assert all(name in " ".join(lines) for name in names)


def test_rates_say_what_was_given_and_what_was_assumed():
    told = rates(plan())
    assert "on H100 (assumed: 989 TFLOP/s, 80 GB) at 40 % of it (assumed)" in told
    assert "writing 5 % (given), checkpoints at 1 GB/s a node (assumed)" in told


def test_memory_of_jobs_by_size_and_which_step_needs_it():
    found = {
        "tokenize": {"task": 3e8, "last_step": 1e8, "job": 3e8},
        "pairs": {"task": 1e8, "last_step": 4e9, "job": 4e9},
        "judge": {"task": 3e8, "last_step": 0, "job": 3e8},
        "judge.random": {"task": 3e8, "last_step": 0, "job": 3e8},
        "train-sbp": {"task": 2e11, "last_step": 0, "job": 2e11},
    }
    assert host_memory(found) == [
        "memory of a job on its machine, at least: 200 GB a training run; 4 GB pairs (its last step); 300 MB",
        "  tokenize, judge",
    ]


def test_core_hours_of_all_synthesizers_and_the_longest_task():
    found = {
        "documents": {"core_hours": 2.0, "task_hours": None},
        "judge": {"core_hours": 30.0, "task_hours": 0.5},
        "judge.random": {"core_hours": 20.0, "task_hours": 1.5},
        "filter": {"core_hours": 0.01, "task_hours": 0.001},
    }
    assert cpu_time(found) == [
        "on CPUs     52 core-hours: documents 2 + judge 50; the longest task is one of judge.random, 1.5 h"
    ]
