"""The items of lm-eval's tasks: what is asked with the right answer, of every kind of task."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lm_eval")
from support.harness_tasks import COLORS, write_tasks
from support.small_recipe import small_recipe

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.evaluation.harness_items import read_items, write_items
from megatron_sbp.overlap.contamination import ItemIndex
from megatron_sbp.recipe import Documents, Recipe
from megatron_sbp.recipe.sections import Evaluation, Harness

CONTEXTS = """
task: contexts
dataset_path: json
dataset_kwargs: {data_files: {test: data/contexts.jsonl}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{place}}"
doc_to_choice: "{{[one, other]}}"
doc_to_target: "{{end}}"
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""
"""As Winogrande: the choices come first, and the text says which of them is right."""


FRAMED = """
task: framed
dataset_path: json
dataset_kwargs: {data_files: {test: data/framed.jsonl}}
output_type: generate_until
test_split: test
doc_to_text: "Question: {{ask}}?\\nAnswer:"
doc_to_target: "{{aliases}}"
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""
QUERIES = {
    "framed": "",  # as NQ: none
    "by_field": "should_decontaminate: true\ndoc_to_decontamination_query: support",  # as TriviaQA
    "by_text": "should_decontaminate: true\ndoc_to_decontamination_query: 'Q: {{support}} {{ask}} A:'",  # as ARC
}
ASK = "which river runs through the old capital of the north"


def recipe(folder: Path, *tasks: str) -> Recipe:
    harness = Harness(task_folder=str(folder), tasks=list(tasks))
    documents = Documents(inputs=["x"], train=10, valid=1, test=1)
    return small_recipe(folder, documents, evaluation=Evaluation(harness=harness))


def test_every_kind_of_task_and_the_tasks_of_a_group_once(tmp_path, capsys):
    folder = write_tasks(tmp_path / "tasks")
    (folder / "contexts.yaml").write_text(CONTEXTS)
    row = {"place": 1, "one": "Ann sat down as", "other": "Ben sat down as", "end": "he was tired."}
    (folder / "data" / "contexts.jsonl").write_text(json.dumps(row))
    for name, query in QUERIES.items():
        (folder / f"{name}.yaml").write_text(FRAMED.replace("task: framed", f"task: {name}") + query)
    row = {"ask": ASK, "aliases": ["Elbe", "Labe"], "support": "It runs north."}
    (folder / "data" / "framed.jsonl").write_text(json.dumps(row))
    output = tmp_path / "items.jsonl.zst"
    write_items(recipe(folder, "both", "colors", "prose", "written", "contexts", *QUERIES), output, tmp_path / "log")
    found = read_items(output)
    assert {name: len(texts) for name, texts in found.items()} == {
        "colors": 12, "tones": 6, "prose": 6, "written": 12, "contexts": 1, **dict.fromkeys(QUERIES, 1),
    }  # fmt: skip
    asked = [f"Thing {place} of the colors is" for place in range(12)]
    expected = [(f"{text} {COLORS[place % 4]}", text) for place, text in enumerate(asked)]
    assert found["colors"] == expected
    assert [forms[0] for forms in found["written"]] == [forms[0] for forms in expected]
    assert found["prose"][1][0].startswith("Once there were 1 ways to say it. Once") and len(found["prose"][1]) == 1
    assert found["contexts"] == [("Ben sat down as he was tired.",)]  # the text is the number of a choice
    whole = f"Question: {ASK}?\nAnswer: Elbe"
    assert found["framed"] == [(whole, ASK)]  # the words around the question are the task's, not the item's
    assert found["by_field"] == [(whole, "It runs north.", ASK)]
    assert found["by_text"] == [(whole, f"It runs north. {ASK}", ASK)]
    index = ItemIndex(found)
    assert index.counts(np.isin(np.arange(len(index)), index.found(f"FAQ: {ASK}?"))) == {
        name: int(name in QUERIES) for name in found
    }
    assert "task-items: 40 items of 8 tasks: colors 12, tones 6, prose 6" in capsys.readouterr().err


def test_a_task_that_cannot_be_loaded_leaves_no_file(tmp_path):
    folder = write_tasks(tmp_path / "tasks")
    (folder / "data" / "tones.jsonl").write_text("{")
    with pytest.raises(InputError, match=r"fails on the task 'tones'.*its log is"):
        write_items(recipe(folder, "colors", "tones"), tmp_path / "items.jsonl.zst", tmp_path / "log")
    assert not (tmp_path / "items.jsonl.zst").exists() and (tmp_path / "log").read_text()


def test_texts_by_task(tmp_path):
    rows = [{"task": name, "text": name * 2} for name in "abab"]  # as earlier versions wrote them
    files.write_jsonl_zst(tmp_path / "a.jsonl.zst", [*rows, {"task": "a", "text": "c", "others": ["d", "e"]}])
    assert read_items(tmp_path / "a.jsonl.zst") == {"a": [("aa",), ("aa",), ("c", "d", "e")], "b": [("bb",), ("bb",)]}
