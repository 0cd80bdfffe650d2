"""The cost of every stage, and the environment, on the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.charts import chart_of

from megatron_sbp.recipe import load_recipe
from megatron_sbp.report.data import ReportData
from megatron_sbp.report.machine import environment_section, times_section

RECIPE = Path(__file__).parents[1] / "end_to_end" / "recipe.yaml"


def data(tmp_path, stages: dict[str, float], **changes) -> ReportData:
    results = {
        "stages": {name: {"seconds": seconds} for name, seconds in stages.items()},
        "arms": {"baseline": {}, "sbp": {}, "noise": {}},
        "environment": {"python": "3.12", "memory_bytes": 3 * 2**30, "gpu": [], "vllm": None, "cpus": ["a", "b"]},
        "engines": {"neighbor_search": "scann", "synthesis": None},
        **changes,
    }
    return ReportData(load_recipe(RECIPE, [f"run_folder={tmp_path}/run"]), results)


def test_the_share_of_the_arms_counts_trainings_of_all_replicates(tmp_path):
    found = times_section(data(tmp_path, {"embed": 50, "train-sbp": 20, "train-sbp.2": 20, "tune": 10}))
    assert "Together 1m 40s, of which 40\u00a0% trained the arms" in found
    bars, notes = chart_of(found).data
    assert bars["marker"]["color"] == ["var(--fill)", "var(--sbp)", "var(--sbp)", "var(--synthesizer)"]
    assert (bars["y"], bars["x"]) == (["embed", "train-sbp", "train-sbp.2", "tune"], [50, 20, 20, 10])
    assert [text.strip() for text in notes["text"]] == ["50.0s", "20.0s", "20.0s", "10.0s"]


@pytest.mark.parametrize(("longest", "unit", "length"), [(299, "seconds", 299), (300, "minutes", 5)])
def test_long_runs_are_shown_in_minutes(tmp_path, longest, unit, length):
    found = chart_of(times_section(data(tmp_path, {"embed": longest})))
    assert found.layout["xaxis"]["title"]["text"] == unit and found.data[0]["x"] == [length]


def test_a_run_without_a_finished_stage_says_so(tmp_path):
    assert "Missing:" in times_section(data(tmp_path, {}))


def test_the_environment_is_told_in_words(tmp_path):
    found = environment_section(data(tmp_path, {}))
    cells = re.findall(r'<th scope="row">([^<]*)</th><td>([^<]*)</td>', found)
    assert ("gpu", "none") in cells
    assert ("memory_bytes", "3.0 GiB") in cells and ("vllm", "not installed") in cells and ("cpus", "a, b") in cells
    assert ("neighbor search", "scann") in cells and ("synthesis", "–") in cells
    assert "run_folder:" in found  # the recipe, written out
