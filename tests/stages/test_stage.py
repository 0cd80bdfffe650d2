"""What a stage says by default, and what every stage of the graph says of itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.graph import all_stages
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Damage, Stage, by_name

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(params=["people/recipe.yaml", "people/study.yaml", "sbp_3b_200b/recipe.yaml"])
def run(request, tmp_path) -> Run:
    return Run.of(load_recipe(EXAMPLES / request.param, [f"run_folder={tmp_path}/run"]))


def test_every_stage_is_described(run):
    for stage in all_stages(run.recipe):
        assert stage.name and stage.title and "\n" not in stage.title
        assert stage.device_for(run) in ("cpu", "gpu", "training") and stage.version >= 1
        assert isinstance(stage.settings(run), dict) and stage.owns(run), stage.name


def test_settings_are_json_and_follow_from_the_recipe_alone(run):
    for stage in all_stages(run.recipe):
        text = json.dumps(stage.settings(run), sort_keys=True)
        assert text == json.dumps(by_name(all_stages(run.recipe), stage.name).settings(run), sort_keys=True)
        # The report shows the whole recipe; any other stage would run again in a moved run folder.
        assert stage.name == "report" or str(run.root) not in text, stage.name


def test_by_name():
    graph = all_stages()
    assert by_name(graph, "pairs").name == "pairs"
    with pytest.raises(StopIteration):
        by_name(graph, "nothing")


def test_damage_is_one_line():
    assert str(Damage("tokens/real.bin", "is missing", gone=True)) == "tokens/real.bin is missing"


def test_a_stage_that_is_no_training_cannot_be_started_by_slurm():
    with pytest.raises(NotImplementedError):
        Stage().under(["srun"])
