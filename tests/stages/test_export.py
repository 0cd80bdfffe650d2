"""Which checkpoints the export stages read, and where they write."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.executor.fingerprints import fingerprints_of
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.export import ExportStage, trained_by
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import UNIT

TINY = Path(__file__).parents[1] / "end_to_end" / "recipe.yaml"


@pytest.fixture
def run(tmp_path) -> Run:
    return Run.of(load_recipe(TINY, [f"run_folder={tmp_path}/run"]))


def test_arms_are_units_that_read_their_own_training(run):
    stage = ExportStage("export-arms", ("baseline", "sbp"))
    assert stage.units(run) == ["baseline", "sbp"] and stage.owns(run) == ("export/baseline", "export/sbp")
    assert stage.reads(run).keys() == {"tokenizer", "train-baseline", "train-sbp"}
    assert stage.reads(run)["train-sbp"] == (f"models/{UNIT}/iter_*", f"models/{UNIT}/consumed.json")
    paths = [
        f"models/{arm}/{file}" for arm in ("baseline", "sbp") for file in ("iter_0000009/0.distcp", "consumed.json")
    ]
    keys = fingerprints_of(stage, run, dict.fromkeys(["tokenizer/tokenizer.json", *paths], "0"), patterns(stage, run))
    assert {unit: list(mine) for unit, mine in keys.own.items()} == {"baseline": paths[:2], "sbp": paths[2:]}


def patterns(stage: ExportStage, run: Run) -> list[str]:
    return [pattern for several in stage.reads(run).values() for pattern in several]


def test_the_synthesizer_is_what_was_tuned_or_an_arm(run):
    assert (trained_by("synthesizer"), trained_by("sbp")) == ("tune", "train-sbp")
    assert "tune" in ExportStage("e", ("synthesizer",)).reads(run)
    sampled = ExportStage("e", ("synthesizer",), trained="baseline")
    assert sampled.reads(run)["train-baseline"][0] == "models/baseline/iter_*" and "tune" not in sampled.reads(run)
    assert sampled.owns(run) == ("export/synthesizer",) and "baseline" in sampled.title


def test_another_model_is_another_export(run):
    stage = ExportStage("e", ("sbp",))
    before = stage.settings(run)
    run.recipe.model.num_layers += 1
    assert stage.settings(run) != before
