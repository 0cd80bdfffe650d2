"""The cost of every stage on the page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support.charts import chart_of

from megatron_sbp.recipe import load_recipe
from megatron_sbp.report.costs_section import costs_section
from megatron_sbp.report.data import ReportData

RECIPE = Path(__file__).parents[1] / "end_to_end" / "recipe.yaml"


def data(tmp_path, stages: dict[str, float], **changes: Any) -> ReportData:
    """Stages of so many seconds, each with the same other figures."""
    figures = {"unit_seconds": None, "gpu_hours": 0.0, "flops": None, "planned_flops": None, **changes}
    results = {
        "stages": {name: {"seconds": seconds, **figures} for name, seconds in stages.items()},
        "arms": {"baseline": {}, "sbp": {}, "noise": {}},
    }
    return ReportData(load_recipe(RECIPE, [f"run_folder={tmp_path}/run"]), results)


def rows(markup: str) -> list[list[str]]:
    """Cells of all tables, the heading of their row first."""
    found = re.findall(r"<tr[^>]*><th scope=\"row\">(.*?)</th>(.*?)</tr>", markup.replace("\u00a0", " "))
    return [[label, *re.findall(r"<td[^>]*>(.*?)</td>", cells)] for label, cells in found]


def test_the_share_of_the_arms_counts_trainings_of_all_replicates(tmp_path):
    found = costs_section(data(tmp_path, {"embed": 50, "train-sbp": 20, "train-sbp.2": 20, "tune": 10}))
    assert "Together 1m 40s, of which 40\u00a0% trained the arms" in found
    bars, notes = chart_of(found).data
    assert bars["marker"]["color"] == ["var(--fill)", "var(--sbp)", "var(--sbp)", "var(--synthesizer)"]
    assert (bars["y"], bars["x"]) == (["embed", "train-sbp", "train-sbp.2", "tune"], [50, 20, 20, 10])
    assert [text.strip() for text in notes["text"]] == ["50.0s", "20.0s", "20.0s", "10.0s"]


@pytest.mark.parametrize(("longest", "unit", "length"), [(299, "seconds", 299), (300, "minutes", 5)])
def test_long_runs_are_shown_in_minutes(tmp_path, longest, unit, length):
    found = chart_of(costs_section(data(tmp_path, {"embed": longest})))
    assert found.layout["xaxis"]["title"]["text"] == unit and found.data[0]["x"] == [length]


def test_a_run_without_a_finished_stage_says_so(tmp_path):
    assert "Missing:" in costs_section(data(tmp_path, {}))


def test_every_stage_has_its_times_and_flops(tmp_path):
    page = costs_section(data(tmp_path, {"embed": 50, "tune": 70}, unit_seconds=100.0, flops=3e15, planned_flops=4e15))
    assert rows(page) == [
        ["all stages", "2m 00s", "3m 20s", "6.0e+15", "8.0e+15"],
        ["embed", "50.0s", "1m 40s", "3.0e+15", "4.0e+15"],
        ["tune", "1m 10s", "1m 40s", "3.0e+15", "4.0e+15"],
    ]
    assert "No stage used a GPU" in page and "GPU-hours" not in page and "Measured: wall time" in page


def test_gpu_hours_stand_where_there_are_any(tmp_path):
    found = data(tmp_path, {"embed": 50, "pairs": 70}, gpu_hours=0.0)
    found.results["stages"]["embed"]["gpu_hours"] = 12.4
    assert [row[3] for row in rows(costs_section(found))] == ["12", "12", "–"] and "GPU-hours" in costs_section(found)


def test_stages_that_earlier_versions_ran_do_not_pass_for_free(tmp_path):
    assert "GPUs were not noted" in costs_section(data(tmp_path, {"embed": 50}, gpu_hours=None))


def test_stages_of_arms_synthesizers_and_replicates_are_added_up_and_listed(tmp_path):
    stages = {"embed": 1, "train-sbp": 2, "train-sbp.2": 3, "tune": 4, "tune.random.2": 5}
    found = rows(costs_section(data(tmp_path, stages, flops=1e9)))
    assert [row[:2] for row in found[:4]] == [
        ["all stages", "15.0s"],
        ["embed", "1.0s"],
        ["train (2)", "5.0s"],
        ["tune (2)", "9.0s"],
    ]
    assert found[2][3] == "2.0e+09" and [row[0] for row in found[4:]] == list(stages)


def test_the_chart_of_hundreds_of_stages_has_the_longest(tmp_path):
    page = costs_section(data(tmp_path, {f"train-sbp.{n}": n for n in range(1, 101)}))
    assert chart_of(page).data[0]["y"] == [f"train-sbp.{n}" for n in range(81, 101)]
    assert "The 20 longest of 100 stages; the others took 54m 00s." in page
