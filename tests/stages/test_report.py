"""The report stage reads what every arm, synthesizer and replicate wrote, and nothing that is costly to read."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.made_up_run import made_up_run

from megatron_sbp.base import files
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.graph import all_stages
from megatron_sbp.stages.report import ReportStage, report_sources
from megatron_sbp.stages.run_folder import Run

STUDY = Path(__file__).parents[2] / "examples" / "people" / "study.yaml"


@pytest.fixture
def study(tmp_path) -> Run:
    return Run.of(load_recipe(STUDY, [f"run_folder={tmp_path}/run"]))


def test_every_stage_that_it_reads_exists(study):
    names = {stage.name for stage in all_stages(study.recipe)}
    found = ReportStage().reads(study)
    assert found.keys() <= names
    assert {"train-sbp", "train-sbp.3", "evaluate.2", "filter.noise", "tune.random", "tune.random.2"} <= found.keys()
    assert found["filter.random.2"] == ("replicates/2/synthesizers/random/synthetic/audit.json",)
    assert "models/synthesizer/start.json" in found["tune.random"][-1]
    assert "tune.noise" not in found and "pairs.self" not in found  # controls have neither pairs nor tuning
    assert not any("iter_" in pattern or ".bin" in pattern for patterns in found.values() for pattern in patterns)


def test_sources_of_replicates_and_synthesizers(study):
    found = report_sources(study)
    assert len(found.replicates) == 3 and found.replicates[2]["sbp"].model == study.root / "replicates/3/models/sbp"
    assert next(iter(found.synthesizers)) == "related"
    random = found.synthesizers["random"]
    assert random.model == study.root / "synthesizers/random/models/synthesizer"
    assert random.quality == study.root / "evaluation" / "quality.random.json"
    assert [one["random"].model.relative_to(study.root).parts[:2] for one in found.writers[1:]] == [
        ("replicates", "2"),
        ("replicates", "3"),
    ]


def test_it_writes_the_results_and_the_page(tmp_path):
    run = made_up_run(tmp_path)
    assert ReportStage().run_unit(run, "all") == [run.results_file, run.report_file]
    assert files.read_json(run.results_file)["arms"].keys() == {"baseline", "sbp", "oracle"}
    assert run.report_file.read_text().startswith("<!doctype html>")
    before = run.report_file.read_bytes()
    ReportStage().run_unit(run, "all")
    assert run.report_file.read_bytes() == before


def test_stages_of_a_former_recipe_and_the_report_before_are_no_cost_of_this_run(tmp_path):
    run = made_up_run(tmp_path)
    for name in ("train-former", "harness", "report"):
        manifest = {"stage": name, "key": "x", "seconds": 5000.0, "units": 1, "started": 5e9, "outputs": {}}
        files.write_json(run.manifests / f"{name}.json", manifest)
    all_stages(run.recipe)[-1].run_unit(run, "all")
    stages = files.read_json(run.results_file)["stages"]
    assert "train-sbp" in stages and not {"train-former", "harness", "report"} & stages.keys()
