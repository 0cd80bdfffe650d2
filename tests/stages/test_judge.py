"""The settings of the stages that filter: a rule that is not asked for makes nothing stale."""

from __future__ import annotations

import json

from support.synthesis_run import execute_synthesis, rewrite_generations, run_of

from megatron_sbp.base import files
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.stages import judge
from megatron_sbp.stages.deduplicate import DeduplicateStage
from megatron_sbp.stages.evaluation_items import evaluation_items
from megatron_sbp.stages.filter import FilterStage
from megatron_sbp.stages.judge import JudgeStage
from megatron_sbp.stages.synthesize import SynthesizeStage
from megatron_sbp.stages.tracing import trace_document
from megatron_sbp.tokenization.tokenizer import load_tokenizer

GRAPH = [SynthesizeStage(), JudgeStage(), DeduplicateStage(), FilterStage()]


def finished(run) -> list[bool]:
    return [StageRunner(run, stage, GRAPH).finished() for stage in GRAPH]


def test_settings_without_further_rules_are_those_of_earlier_versions(prepared):
    run = run_of(prepared)
    assert JudgeStage().settings(run) == {
        "min_tokens": 4, "unfinished": "drop", "max_repetition": 0.3, "max_copying": 0.15,
        "shingle_tokens": 13, "signatures": True,
    }  # fmt: skip
    kept = JudgeStage().settings(run_of(prepared, "filter.broken_text=keep"))
    assert kept == {**JudgeStage().settings(run), "broken_text": "keep"}
    assert FilterStage().settings(run) == {} and JudgeStage().external(run) == []
    assert set(JudgeStage().reads(run)) == {"tokenizer", "tokenize", "synthesize"}
    assert FilterStage().reads(run)["judge"] == ("synthetic/judged/verdicts/{unit}.npy",)
    assert JudgeStage().settings(run_of(prepared, "filter.corpus_index_gb=1")) == JudgeStage().settings(run)


def test_to_tokenize_again_leaves_the_ids_out(undisturbed, make_run):
    before = {shard.name: list(files.read_jsonl_zst(shard)) for shard in undisturbed.synthetic_shards()}
    run = make_run("undisturbed", "filter.retokenize=true")
    assert finished(run)[:2] == [True, False]
    for stage in GRAPH:
        assert StageRunner(run, stage, GRAPH).execute()
    tokenizer, lengths = load_tokenizer(run.tokenizer), []
    for shard in run.synthetic_shards():
        rows, others = list(files.read_jsonl_zst(shard)), before[shard.name]
        assert [row["text"] for row in rows] == [row["text"] for row in others]
        assert all("token_ids" in row for row in others) and not any("token_ids" in row for row in rows)
        again = tokenizer.encode_batch([row["text"] for row in rows])
        assert [row["tokens"] for row in rows] == [len(ids) + 1 for ids in again]
        lengths += [row["tokens"] - other["tokens"] for row, other in zip(rows, others, strict=True)]
    assert any(lengths) and files.read_json(run.audit_synthetic)["retokenized"]["differing"] > 0


def test_a_predicate_makes_stale_what_it_judges_and_so_does_another_one(undisturbed, make_run):
    assert finished(undisturbed) == [True] * 4
    (undisturbed.root.parent / "keep.py").write_text(
        "def keep(batch):\n    return [len(c['text']) % 2 for c in batch]\n"
    )
    run = make_run("undisturbed", "filter.predicate=keep.py:keep")
    assert finished(run)[:2] == [True, False]
    (undisturbed.root.parent / "keep.py").write_text(
        "def keep(batch):\n    return [len(c['text']) % 2 == 0 for c in batch]\n"
    )
    for stage in GRAPH:
        assert StageRunner(run, stage, GRAPH).execute()
    audit = files.read_json(run.audit_synthetic)
    assert finished(run) == [True] * 4 and audit["dropped"]["predicate"] > 0
    kept = [row for shard in run.synthetic_shards() for row in files.read_jsonl_zst(shard)]
    assert kept and all(len(row["text"]) % 2 == 0 and row["predicate"] == 1 for row in kept)
    (undisturbed.root.parent / "keep.py").write_text("def keep(batch):\n    return [True] * len(batch)\n")
    assert finished(run)[:2] == [True, False]


def test_the_items_of_the_evaluation_are_read_once_for_all_units(undisturbed, make_run, monkeypatch):
    run = make_run("undisturbed", "filter.contaminated=keep")
    stage = JudgeStage()
    read = []
    monkeypatch.setattr(judge, "evaluation_items", lambda run: read.append(run) or evaluation_items(run))
    units = stage.units(run)
    for unit in units:
        stage.run_unit(run, unit)
    assert len(units) > 1 and len(read) == 1


def test_a_text_with_a_test_document_or_a_question_is_dropped_where_the_recipe_says_so(undisturbed, make_run):
    run = make_run("undisturbed", "filter.contaminated=drop", "filter.max_copying=1", "filter.max_repetition=1")
    document = next(row["text"] for shard in run.document_shards("test") for row in files.read_jsonl_zst(shard))
    question = {
        "prompt": "Quite other words than those are in",
        "choices": ["this one", "that one"],
        "answer": "this one",
    }
    (run.root.parent / "questions.jsonl").write_text(json.dumps(question))
    asked = "Quite other words than those are in this one: so it is with every text without an end in sight."
    rows = rewrite_generations(run, {0: f"Once more: {document}", 1: asked})
    execute_synthesis(run, "judge", "deduplicate", "filter")
    audit = files.read_json(run.audit_synthetic)
    assert audit["dropped"]["contaminated"] == 1
    assert [one["text"] for one in audit["examples"]["contaminated"]] == [rows[0]["text"][:3000]]
    assert trace_document(run, rows[0]["id"])["filters"]["verdict"] == "contaminated"
    run = make_run(
        "undisturbed", "filter.contaminated=keep", "filter.max_copying=1", "filter.max_repetition=1",
        "evaluation.questions=questions.jsonl",
    )  # fmt: skip
    execute_synthesis(run, "judge", "deduplicate", "filter")
    audit = files.read_json(run.audit_synthetic)
    kept = {row["id"]: row for shard in run.synthetic_shards() for row in files.read_jsonl_zst(shard)}
    assert audit["dropped"]["contaminated"] == 0
    assert [kept[row["id"]]["contaminated"] for row in rows[:2]] == [1, 1]
    assert sum(row["contaminated"] for row in kept.values()) == 2
