"""The environment on the page."""

from __future__ import annotations

import re
from pathlib import Path

from megatron_sbp.recipe import load_recipe
from megatron_sbp.report.data import ReportData
from megatron_sbp.report.machine import environment_section

RECIPE = Path(__file__).parents[1] / "end_to_end" / "recipe.yaml"


def data(tmp_path) -> ReportData:
    results = {
        "environment": {"python": "3.12", "memory_bytes": 3 * 2**30, "gpu": [], "vllm": None, "cpus": ["a", "b"]},
        "engines": {"neighbor_search": "scann", "synthesis": None},
    }
    return ReportData(load_recipe(RECIPE, [f"run_folder={tmp_path}/run"]), results)


def test_the_environment_is_told_in_words(tmp_path):
    found = environment_section(data(tmp_path))
    cells = re.findall(r'<th scope="row">([^<]*)</th><td>([^<]*)</td>', found)
    assert ("gpu", "none") in cells
    assert ("memory", "3.0 GiB") in cells and ("vllm", "not installed") in cells and ("cpus", "a, b") in cells
    assert ("neighbor search", "scann") in cells and ("synthesis", "–") in cells
    assert "run_folder:" in found  # the recipe, written out
