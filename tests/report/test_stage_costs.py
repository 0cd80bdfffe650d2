"""The cost of every stage: measured times, and FLOPs by the formulas of the plan."""

from __future__ import annotations

import pytest
from support.made_up_run import made_up_run, with_a_control
from support.made_up_text import text_run

from megatron_sbp.base import files
from megatron_sbp.planning import cost
from megatron_sbp.recipe import load_recipe
from megatron_sbp.report.stage_costs import stage_costs
from megatron_sbp.stages.report import report_sources
from megatron_sbp.stages.run_folder import Run


def costs(run: Run):
    return stage_costs(report_sources(run), run.recipe)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return made_up_run(tmp_path_factory.mktemp("costs"))


def test_trainings_and_generation_cost_what_they_processed(run):
    found = costs(run)
    model, vocab = run.recipe.model, cost.padded_vocab_size(run.recipe.model, 700)
    samples = files.read_json(run.model("sbp") / "consumed.json")["train_samples"]
    assert found["train-sbp"]["flops"] == cost.training_flops(model, vocab, samples)
    assert found["train-sbp"]["flops"] == found["train-sbp"]["planned_flops"]
    assert found["tune"]["flops"] == cost.training_flops(model, vocab, 800, run.recipe.tuning_sequence_length)
    writing = cost.generation_flops(model, vocab, 220, 0, 300)[1]  # without reading prompts
    assert writing < found["synthesize"]["flops"] < 2 * writing
    assert found["embed"]["flops"] == found["embed"]["planned_flops"] > 0
    nothing = {name for name, entry in found.items() if entry["flops"] is None}
    assert not nothing, "every stage has a figure"
    without = {name for name, entry in found.items() if entry["flops"] == 0}
    assert without == {"documents", "tokenizer", "tokenize", "pairs", "tokenize-pairs", "filter", "export-synthesizer",
                       "tokenize-synthetic", "export-arms"}  # fmt: skip


def test_evaluation_costs_a_third_of_training_on_what_it_read(run):
    model, vocab = run.recipe.model, cost.padded_vocab_size(run.recipe.model, 700)
    read = [files.read_json(run.evaluation(arm)) for arm in run.recipe.arms]
    sequences = sum(one[split].get("sequences", 0) for one in read for split in ("valid", "test"))
    asked = 4 * sum(one["choice"].get("questions") or 0 for one in read)
    length = run.recipe.evaluation.choice_context + run.recipe.evaluation.choice_continuation
    forward = cost.training_flops(model, vocab, sequences) + cost.training_flops(model, vocab, asked, length)
    assert costs(run)["evaluate"]["flops"] == forward // 3 > 0


def test_a_tuning_that_stopped_early_cost_less_than_planned(run, tmp_path):
    other = made_up_run(tmp_path)
    file = other.model("synthesizer") / "consumed.json"
    files.write_json(file, {**files.read_json(file), "train_samples": 8})
    found, before = costs(other)["tune"], costs(run)["tune"]
    assert found["flops"] * 100 == before["flops"] and found["planned_flops"] == before["planned_flops"]


def test_every_replicate_and_every_synthesizer_has_its_own(tmp_path):
    run = with_a_control(made_up_run(tmp_path))
    for name in ("train-control.2", "tune.random", "tune.random.2", "synthesize.random.2"):
        manifest = {"stage": name, "seconds": 1.0, "started": 5e9, "unit_seconds": 3.0, "gpu_seconds": 7200.0}
        files.write_json(run.manifests / f"{name}.json", manifest)
    file = run.root / "replicates/2/synthesizers/random/models/synthesizer/consumed.json"
    files.write_json(file, {**files.read_json(file), "train_samples": 80})
    found = costs(run)
    assert found["tune.random"]["flops"] == 10 * found["tune.random.2"]["flops"]
    assert found["train-control.2"]["flops"] and found["synthesize.random.2"]["flops"]
    assert found["train-control.2"]["unit_seconds"] == 3.0 and found["train-control.2"]["gpu_hours"] == 2.0


def test_gpu_hours_are_nothing_on_cpus_and_unknown_of_an_earlier_version(run):
    assert {entry["gpu_hours"] for entry in costs(run).values()} == {0.0}
    file = run.stage_manifest("embed")
    manifest = files.read_json(file)
    del manifest["gpu_seconds"]
    files.write_json(file, manifest)
    assert costs(run)["embed"]["gpu_hours"] is None  # launch.device is auto
    on_cpus = load_recipe(run.root.parent / "recipe.yaml", [f"run_folder={run.root}", "launch.device=cpu"])
    assert {entry["gpu_hours"] for entry in costs(Run.of(on_cpus)).values()} == {0.0}


def test_a_run_that_has_only_tokens(tmp_path):
    found = costs(text_run(tmp_path))
    assert list(found) == ["documents", "tokenizer", "tokenize"] and found["tokenize"]["unit_seconds"] > 0
