"""Texts of the evaluation: without tasks of lm-eval here, with them in test_task_items.py."""

from __future__ import annotations

import json

from megatron_sbp.base import files
from megatron_sbp.stages.evaluation_items import evaluation_items, item_reads

QUESTION = {"prompt": "Ada Brandt was born in", "choices": ["Lisbon", "Oslo"], "answer": "Oslo"}


def test_questions_with_their_answers_and_the_test_split(undisturbed, make_run):
    run = make_run("undisturbed")
    documents = [row["text"] for shard in run.document_shards("test") for row in files.read_jsonl_zst(shard)]
    assert evaluation_items(run) == {"questions": [], "test documents": documents} and len(documents) == 5
    (undisturbed.root.parent / "questions.jsonl").write_text(json.dumps(QUESTION) + "\n")
    run = make_run("undisturbed", "evaluation.questions=questions.jsonl")
    assert evaluation_items(run)["questions"] == ["Ada Brandt was born in Oslo"] and not item_reads(run)
