"""The index of D, and what the filters find in it: a real run of the stages from index-corpus to filter."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.synthesis_run import digests, execute_synthesis, rewrite_generations

from megatron_sbp.base import files
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.overlap.shingles import shingle_hashes
from megatron_sbp.stages.index_corpus import IndexCorpusStage
from megatron_sbp.stages.tokenize import TokenizeStage
from megatron_sbp.stages.tracing import trace_document
from megatron_sbp.synthesis.corpus_index import open_corpus_index
from megatron_sbp.synthesis.trace_text import format_trace
from megatron_sbp.tokenization.indexed import open_indexed
from megatron_sbp.tokenization.tokenizer import load_tokenizer

ASKED = ("filter.max_corpus_copying=0.5", "filter.max_repetition=1", "filter.max_copying=0.9")


def documents(run) -> list[dict]:
    return [row for shard in run.document_shards("train") for row in files.read_jsonl_zst(shard)]


def with_copies(run) -> tuple[list[dict], str]:
    """The first shard of generations, whose first text is another training document than its seed, and whose second one
    is new text; and the id of the document."""
    rows = list(files.read_jsonl_zst(run.generation_shards()[0]))
    copied = next(row for place, row in enumerate(documents(run)) if 300 < len(row["text"]) < 1500
                  and place not in (rows[0]["seed_row"], rows[1]["seed_row"]))  # fmt: skip
    new = "Entirely other words, which no entry of any dictionary has had before them, follow one another here."
    return rewrite_generations(run, {0: copied["text"], 1: new}), copied["id"]


def test_a_copy_of_another_document_than_its_seed_is_dropped_with_its_reason(undisturbed, make_run):
    run = make_run("undisturbed", *ASKED)
    rows, _ = with_copies(run)
    execute_synthesis(run, "index-corpus", "judge", "deduplicate", "filter")
    audit = files.read_json(run.audit_synthetic)
    assert audit["dropped"]["corpus_copying"] >= 1
    assert rows[0]["text"][:3000] in [one["text"] for one in audit["examples"]["corpus_copying"]]
    assert list(audit["dropped"])[-2:] == ["corpus_copying", "duplicate"]
    assert sum(audit["dropped"].values()) == audit["generations"] - audit["kept"]
    measured = audit["measured"]["corpus_copying"]
    assert measured["sampled"] == 1 and measured["standard_error_at_limit"] == 0 and 0 < measured["mean"] < 1
    kept = {row["id"]: row for shard in run.synthetic_shards() for row in files.read_jsonl_zst(shard)}
    assert rows[0]["id"] not in kept and kept[rows[1]["id"]]["corpus_copying"] == 0
    assert kept[rows[1]["id"]]["corpus_shingles"] > 10
    assert len(open_corpus_index(run.corpus_index)) > 1000
    found = trace_document(run, rows[0]["id"])["filters"]
    said = {rule["rule"]: rule for rule in found["rules"]}
    assert (
        found["verdict"] == "corpus_copying" and said["corpus_copying"]["value"] == 1 and not said["copying"]["drops"]
    )
    assert "corpus copying: 1.000 (limit: 0.5, of " in format_trace(trace_document(run, rows[0]["id"]))


def test_shares_are_those_of_sets_and_any_number_of_tasks_gives_them(undisturbed, make_run, monkeypatch):
    run = make_run("undisturbed", *ASKED)
    with_copies(run)
    execute_synthesis(run, "index-corpus", "judge", "deduplicate", "filter")
    real, tokenizer = open_indexed(run.tokens("real")), load_tokenizer(run.tokenizer)
    known = set().union(*(shingle_hashes(real[row][:-1], 13).tolist() for row in range(len(real))))
    checked = 0
    for shard in run.synthetic_shards():
        for row in files.read_jsonl_zst(shard):
            own = set(shingle_hashes(np.array(tokenizer.encode_batch([row["text"]])[0]), 13).tolist())
            assert row["corpus_shingles"] == len(own)
            assert row["corpus_copying"] == pytest.approx(len(own & known) / len(own), abs=1e-5)
            checked += 1
    assert checked > 5
    other = make_run("undisturbed", *ASKED, "filter.corpus_index_gb=4")  # else the index counts as made
    stage = IndexCorpusStage()
    monkeypatch.setattr("megatron_sbp.synthesis.corpus_index.PART_HASHES", 1000)
    assert len(stage.units(other)) >= 8
    before = digests(other)
    graph = [TokenizeStage(), stage]
    assert [StageRunner(other, stage, graph).execute((task, 3)) for task in (2, 3, 1)] == [False, False, True]
    execute_synthesis(other, "judge", "deduplicate", "filter")
    assert digests(other) == before


def test_a_sampled_index_states_its_error(undisturbed, make_run):
    run = make_run("undisturbed", *ASKED, "filter.corpus_index_gb=0.000005")
    with_copies(run)
    execute_synthesis(run, "index-corpus", "judge", "deduplicate", "filter")
    index = files.read_json(run.corpus_index / "index.json")
    size = sum(file.stat().st_size for file in run.corpus_index.glob("*/*.npy"))
    assert index["sampled"] < 0.5 and index["false_positives"] < 1e-8 and size < 5369 + 300
    measured = files.read_json(run.audit_synthetic)["measured"]
    shingles, sampled = measured["corpus_shingles"]["mean"], index["sampled"]
    expected = math.sqrt(0.25 / shingles * (1 - sampled))
    assert measured["corpus_copying"]["standard_error_at_limit"] == pytest.approx(expected)
    # A text without any shingle in the sample has no share, and passes.
    assert measured["corpus_copying"]["documents"] < measured["corpus_shingles"]["documents"]
