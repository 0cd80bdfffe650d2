"""Open files, against the recipes that we ship."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.doctor.open_files import check_open_files, enough
from megatron_sbp.doctor.subject import Subject
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.run_folder import Run

PAPER = Path(__file__).parents[2] / "examples" / "sbp_6b_1t" / "recipe.yaml"


def test_a_limit_of_4096_is_too_small_for_the_papers_largest_run():
    shards = {"embed": 600, "synthesize": 9_800}
    assert enough(65_536, shards).status == "ok"
    found = enough(4_096, shards)
    assert found.status == "fail" and "synthesize has 9,800 shards, which takes about 19,800" in found.text
    assert "ulimit -Hn" in found.remedy and enough(4_096, {"embed": 600}).status == "ok"


def test_the_recipe_decides(tmp_path):
    recipe = load_recipe(PAPER, [f"run_folder={tmp_path}"])
    (found,) = check_open_files(Subject(Run.of(recipe)))
    assert found.check == "open files" and " has " in found.text and " shards" in found.text
    assert list(check_open_files(Subject(None))) == []
