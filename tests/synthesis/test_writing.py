"""Prompts are the training pairs' own; rows carry their parents."""

from __future__ import annotations

import json

import numpy as np
import pytest

from megatron_sbp.base import files
from megatron_sbp.synthesis.engine import Written
from megatron_sbp.synthesis.writing import prompt_of, text_of, write_drafts
from megatron_sbp.tokenization.indexed import open_indexed
from megatron_sbp.tokenization.pairs import PairLimits, write_pairs
from megatron_sbp.tokenization.tokenizer import load_tokenizer


@pytest.mark.parametrize("cut", ["head", "tail"])
def test_prompts_are_the_seeds_of_training_pairs(make_run, tmp_path, cut):
    """For every document: what tokenize-pairs stores as seed, and the separator behind it."""
    run = make_run("prompts")
    tokenizer, real = load_tokenizer(run.tokenizer), open_indexed(run.tokens("real"))
    rows = np.arange(len(real))
    limits = PairLimits(int(np.median(real.lengths)), run.recipe.max_target_tokens, cut)
    write_pairs(
        tmp_path / "pairs", real, rows, rows[::-1], limits, tokenizer.starts_character, tokenizer.end_of_document
    )
    pairs = open_indexed(tmp_path / "pairs")
    lengths = set()
    for row in rows.tolist():
        prompt = prompt_of(real[row], tokenizer, limits.max_seed_tokens, cut)
        assert prompt.tolist() == [*pairs[2 * row].tolist(), tokenizer.separator]
        lengths.add(len(prompt))
    assert max(lengths) == limits.max_seed_tokens + 1 and len(lengths) > 10  # some were cut, some were not


def test_rows_know_their_parents(make_run):
    run = make_run("rows")
    tokenizer = load_tokenizer(run.tokenizer)
    rows = write_drafts(run, 0, 70, "test")
    documents = [row for shard in run.document_shards("train") for row in files.read_jsonl_zst(shard)]
    assert len(documents) == 60 and len(rows) == 70
    for row in rows:
        assert row["id"] == f"syn-{row['seed_row']}-{row['draw']}"
        assert row["seed_id"] == documents[row["seed_row"]]["id"]
        assert row["synthesizer"] == "ab" * 32
        assert (row["temperature"], row["top_p"], row["run_seed"]) == (1.0, 0.9, 1)
        assert row["tokens"] <= 50 and (row["finished"] or row["tokens"] == 50)
        assert not any(token in row["text"] for token in tokenizer.roles.values())
    assert {row["draw"] for row in rows} == {0, 1} and {row["finished"] for row in rows} == {True, False}
    assert len({row["text"] for row in rows}) > 60
    json.dumps(rows)
    # A draw is the same in another shard of the plan.
    again = write_drafts(run, 60, 70, "test")
    assert [row["text"] for row in again] == [row["text"] for row in rows[60:]]


def test_a_cut_character_is_left_out_of_unfinished_texts_only(tokenizer):
    ids = np.array(tokenizer.encode_batch(["café 日本"])[0][:-1])
    assert text_of(Written(ids, finished=False), tokenizer) == "café 日"
    assert text_of(Written(ids, finished=True), tokenizer) == "café 日\ufffd"
