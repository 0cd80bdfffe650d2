"""The stage runs lm-eval arm by arm: it resumes where it was interrupted, and changed task files make it run again."""

from __future__ import annotations

import json
import os

import pytest

pytest.importorskip("lm_eval")
from support.finished_stage import mark_finished
from support.harness_tasks import write_tasks
from support.made_up_model import hugging_face_model
from support.made_up_text import text_run

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.recipe import Recipe, load_recipe
from megatron_sbp.stages.evaluate import EvaluateStage
from megatron_sbp.stages.export import ExportStage
from megatron_sbp.stages.graph import all_stages
from megatron_sbp.stages.harness import HarnessStage
from megatron_sbp.stages.report import ReportStage, report_sources
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.tokenization.tokenizer import load_tokenizer, save_tokenizer

SECTION = "evaluation.harness"
TASKS = (f"{SECTION}.tasks=[colors]", f"{SECTION}.task_folder=tasks")


def changed(run: Run, *words: str) -> Run:
    recipe = load_recipe(run.root.parent / "recipe.yaml", [f"run_folder={run.root}", "launch.device=cpu", *words])
    return Run(recipe, run.root)


@pytest.fixture
def run(tmp_path) -> Run:
    made = text_run(tmp_path, train=90, oracle=0)
    write_tasks(tmp_path / "tasks", questions=4)
    run = changed(made, *TASKS, "arms={baseline: {}, b: {}}")
    for seed, arm in enumerate(run.recipe.arms):
        export_arm(run, arm, seed)
    return run


def export_arm(run: Run, arm: str, seed: int) -> None:
    """A model with random weights; `export-arms` has finished with those that are there."""
    hugging_face_model(run.export(arm), run.recipe.model, 700, seed)
    save_tokenizer(run.export(arm), load_tokenizer(run.tokenizer))
    exported = [file for arm in run.recipe.arms if run.export(arm).exists() for file in run.export(arm).iterdir()]
    mark_finished(run, "export-arms", exported)


def execute(run: Run) -> bool:
    stage = HarnessStage()
    export = ExportStage("export-arms", tuple(run.recipe.arms))
    return StageRunner(run, stage, [export, stage]).execute()


def test_an_interrupted_stage_goes_on_and_a_further_arm_is_evaluated_alone(run, capfd, monkeypatch):
    real = run.export("b") / "model.safetensors"
    weights, written = real.read_bytes(), real.stat()
    real.write_bytes(bytes(len(weights)))
    os.utime(real, ns=(written.st_atime_ns, written.st_mtime_ns))  # as a bad disk would
    with pytest.raises(InputError, match="lm-eval cannot load this checkpoint") as found:
        execute(run)
    assert found.value.file == run.export("b") and str(run.log("harness", "lm-eval-b")) in str(found.value)
    first = run.harness("baseline").stat()
    real.write_bytes(weights)
    assert execute(run)
    assert run.harness("baseline").stat().st_mtime_ns == first.st_mtime_ns
    found = {arm: files.read_json(run.harness(arm)) for arm in run.recipe.arms}
    assert all(found[arm]["tasks"]["colors"]["samples"] == 4 for arm in found)
    told = capfd.readouterr().err
    assert "harness: b: 1 task with lm-eval (hf)" in told and "harness: b: colors (1 of 1): acc " in told
    assert list(run.log("harness", "x").parent.glob("lm-eval-*.log"))
    sources = report_sources(run)
    assert sources.arms["b"].harness == run.harness("b")
    assert "harness" in ReportStage().reads(run)
    more = changed(run, *TASKS, "arms={baseline: {}, b: {}, c: {}}")
    export_arm(more, "c", 7)
    monkeypatch.setattr(StageRunner, "keep_seconds", -1.0)  # nothing of a finished arm is made again
    assert execute(more) and files.read_json(more.harness("c"))["tasks"]["colors"]["samples"] == 4
    assert run.harness("baseline").stat().st_mtime_ns == first.st_mtime_ns
    without = changed(run, "arms={baseline: {}, b: {}}")
    assert report_sources(without).arms["b"].harness is None and "harness" not in ReportStage().reads(without)


def test_what_has_it_run_again(run, tmp_path):
    stage, before = HarnessStage(), HarnessStage().settings(run)
    words = [f"{SECTION}.tasks=[colors]", f"{SECTION}.task_folder=tasks"]
    assert "task_folder" not in before and before["batch_size"] == 16
    for word in ("metrics={colors: acc_norm}", "python=x"):
        assert stage.settings(changed(run, *words, f"{SECTION}.{word}")) == before
    for word in ("shots={colors: 1}", "limit=3", "precision=bf16", "batch_size=4", "backend=vllm"):
        assert stage.settings(changed(run, *words, f"{SECTION}.{word}")) != before
    assert tmp_path / "tasks" / "data" / "colors.jsonl" in stage.external(run)
    assert stage.external(changed(run)) == []


def test_finished_evaluations_stay_what_they_are(run):
    """Tasks are a stage of their own: naming them makes no figure of `evaluate` stale."""
    assert EvaluateStage().settings(run) == EvaluateStage().settings(changed(run, "arms={baseline: {}, b: {}}"))
    assert "harness" not in json.dumps(EvaluateStage().settings(run))


def test_it_is_there_where_tasks_are_named(run):
    assert "harness" not in [stage.name for stage in all_stages()]
    recipe: Recipe = changed(run, f"{SECTION}.tasks=[colors]", f"{SECTION}.task_folder=tasks", "replicates=2").recipe
    names = [stage.name for stage in all_stages(recipe)]
    assert names.index("harness") > names.index("export-arms") and names.index("harness.2") < names.index("report")
    second = next(stage for stage in all_stages(recipe) if stage.name == "harness.2")
    own = Run(recipe, run.root)
    assert second.owns(own) == ("replicates/2/harness",)
    assert "export-arms.2" in second.reads(own)
