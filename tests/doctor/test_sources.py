"""What the recipe reads: missing files, models, and folders, each told with its key."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pytest
import zstandard

from megatron_sbp.doctor.findings import Finding
from megatron_sbp.doctor.sources import check_inputs, check_models
from megatron_sbp.doctor.subject import Subject
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.run_folder import Run

TINY = Path(__file__).parents[1] / "end_to_end" / "recipe.yaml"


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def found(check, *words: str) -> dict[str, Finding]:
    return {finding.check: finding for finding in check(Subject(Run.of(load_recipe(TINY, words))))}


def test_all_is_there():
    models, inputs = found(check_models), found(check_inputs)
    assert {entry.status for entry in [*models.values(), *inputs.values()]} == {"ok"}
    assert list(models) == ["embedding model", "tokenizer", "tuning start"] and "1 file" in inputs["inputs"].text


@pytest.mark.parametrize(
    "word, check, text, remedy",
    [
        ("embedding.model=./none", "embedding model", "no such folder", "correct embedding.model"),
        ("embedding.model=some/model", "embedding model", "nor in the local hub cache", "hf download some/model"),
        ("tokenizer.path=./none", "tokenizer", "no such folder", "correct tokenizer.path"),
        ("tokenizer.path=some/tokenizer", "tokenizer", "nor in the local hub cache", "hf download some/tokenizer"),
        ("tuning.start=./none", "tuning start", "not a Hugging Face checkpoint", "correct tuning.start"),
    ],
)
def test_a_model_that_is_not_there(word, check, text, remedy):
    finding = found(check_models, word)[check]
    assert finding.status == "fail" and text in finding.text and remedy in finding.remedy


@pytest.mark.parametrize(
    "key, check, part, whole",
    [
        ("embedding.model", "embedding model", "config.json", "model.safetensors"),
        ("embedding.model", "embedding model", "config.json", "pytorch_model.bin"),
        ("tokenizer.path", "tokenizer", "tokenizer_config.json", "tokenizer.json"),
        ("tokenizer.path", "tokenizer", "config.json", "spiece.model"),
    ],
)
def test_a_download_that_was_interrupted(tmp_path, monkeypatch, key, check, part, whole):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--some--name"
    snapshot = folder / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / part).touch()
    word = f"{key}=some/name"
    finding = found(check_models, word)[check]  # of another revision than main
    assert finding.status == "fail" and "all of its main branch" in finding.text and "hf download" in finding.remedy
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    assert found(check_models, word)[check].status == "fail"
    (snapshot / whole).symlink_to("../../blobs/none")
    assert found(check_models, word)[check].status == "fail"
    (snapshot / whole).unlink()
    (snapshot / whole).touch()
    assert found(check_models, word)[check].status == "ok"


def test_an_empty_folder_is_no_model(tmp_path):
    finding = found(check_models, f"embedding.model={tmp_path}")["embedding model"]
    assert finding.status == "fail" and "is empty" in finding.text


def test_a_network_is_a_warning(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert found(check_models, "embedding.model=some/model")["embedding model"].status == "warn"


def test_inputs_that_are_not_there(tmp_path):
    finding = found(check_inputs, f"documents.inputs=[{tmp_path}/*.jsonl]")["inputs"]
    assert finding.status == "fail" and "matches no file" in finding.text and "documents.inputs" in finding.remedy


@pytest.mark.parametrize(
    "name, content, text",
    [
        ("a.jsonl", b"", "a.jsonl: holds no document"),
        ("a.jsonl", '{"text": "abc"}'.encode("utf-16"), "a.jsonl:1: invalid UTF-8"),
        ("a.jsonl", gzip.compress(b'{"text": "abc"}', mtime=0), "a.jsonl:1: invalid UTF-8"),
        ("a.parquet", b'{"text": "abc"}\n', "a.parquet:1: truncated or damaged parquet"),
        ("a.jsonl.zst", zstandard.compress(b'{"text": "abc"}\n' * 9)[:-3], "truncated: the file ends inside"),
        ("a.csv", b"a,b\n", "a.csv: 'documents.inputs': is none of .jsonl"),
        ("a.jsonl", b'{"body": "abc"}', "a.jsonl:1: 'text': field is missing; there are: body"),
    ],
)
def test_inputs_that_cannot_be_used(tmp_path, name, content, text):
    (tmp_path / name).write_bytes(content)
    words = [f"documents.inputs=[{tmp_path}/a.*]", "documents.id_field=null", "documents.keep_fields=[]"]
    finding = found(check_inputs, *words)["inputs"]
    assert finding.status == "fail" and f"{tmp_path}/" in finding.text and text in finding.text


@pytest.mark.parametrize("field, told", [("text", ["warn"]), ("body", ["warn", "fail"])])
def test_what_is_passed_over_hides_nothing_else(tmp_path, field, told):
    (tmp_path / "a.jsonl").write_text('{"text": "abc"}\n')
    (tmp_path / "b.jsonl").symlink_to("gone")
    words = [f"documents.inputs=[{tmp_path}/*]", "documents.id_field=null", "documents.keep_fields=[]",
             "documents.bad_documents=skip", f"documents.text_field={field}"]  # fmt: skip
    inputs = [one for one in check_inputs(Subject(Run.of(load_recipe(TINY, words)))) if one.check == "inputs"]
    assert [one.status for one in inputs] == told and "passed over" in inputs[0].text
    assert field == "text" or "its first document is not usable" in inputs[1].text


def test_fields_that_are_not_there(tmp_path):
    words = ["documents.text_field=body", "documents.id_field=url", "documents.keep_fields=[site]"]
    for word in words:
        finding = found(check_inputs, word)["inputs"]
        assert finding.status == "fail" and "field is missing; there are:" in finding.text


def test_one_empty_file_of_several_is_a_warning(tmp_path):
    (tmp_path / "a.jsonl").touch()
    (tmp_path / "b.jsonl").write_text('{"text": "abc"}\n')
    words = [f"documents.inputs=[{tmp_path}/*.jsonl]", "documents.id_field=null", "documents.keep_fields=[]"]
    finding = found(check_inputs, *words)["inputs"]
    assert finding.status == "warn" and "a.jsonl: holds no document" in finding.text


def test_a_folder_among_the_inputs_is_named(tmp_path):
    (tmp_path / "a.jsonl").mkdir()
    assert f"{tmp_path}/a.jsonl" in found(check_inputs, f"documents.inputs=[{tmp_path}/*]")["inputs"].text


def test_questions_that_cannot_be_answered(tmp_path):
    file = tmp_path / "questions.jsonl"
    file.write_text(json.dumps({"prompt": "x", "choices": ["a", "b"], "answer": "c"}) + "\n")
    finding = found(check_inputs, f"evaluation.questions={file}")["questions"]
    assert finding.status == "fail" and "'c' is not among the choices" in finding.text


def test_a_predicate_that_is_not_there(tmp_path):
    finding = found(check_inputs, f"filter.predicate={tmp_path}/keep.py:keep")["predicate"]
    assert finding.status == "fail" and "no such file" in finding.text and finding.remedy == "correct filter.predicate"
    (tmp_path / "keep.py").write_text("def other(batch): ...")
    assert "defines no 'keep'" in found(check_inputs, f"filter.predicate={tmp_path}/keep.py:keep")["predicate"].text
    (tmp_path / "keep.py").write_text("def keep(batch): ...")
    assert found(check_inputs, f"filter.predicate={tmp_path}/keep.py:keep")["predicate"].status == "ok"


def test_an_endpoint_is_not_asked_and_its_key_is_looked_for(monkeypatch):
    words = [f"evaluation.judge_endpoint.{word}" for word in ("base_url=http://127.0.0.1:1/v1", "model=m")]
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    assert found(check_inputs, *words)["judge_endpoint"].text == "http://127.0.0.1:1/v1"
    monkeypatch.delenv("OPENAI_API_KEY")
    assert "OPENAI_API_KEY is not set" in found(check_inputs, *words)["judge_endpoint"].text


def test_tasks_that_are_not_there(tmp_path):
    words = [f"evaluation.harness.{word}" for word in ("tasks=[sciq]", f"task_folder={tmp_path}/gone")]
    finding = found(check_inputs, *words, f"evaluation.harness.python={sys.executable}")["harness"]
    assert finding.status == "fail" and "no such folder" in finding.text
    assert finding.remedy == "correct evaluation.harness"


def test_no_recipe_no_findings():
    assert not [*check_models(Subject()), *check_inputs(Subject())]
