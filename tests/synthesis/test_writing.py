"""Rows of raw generations carry their parents."""

from __future__ import annotations

import json
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.stages.synthetic_writer import synthesizer_of
from megatron_sbp.synthesis.writing import write_shard
from megatron_sbp.tokenization.tokenizer import load_tokenizer


def written(folder: Path, run, begin: int, end: int) -> list[dict]:
    output, synthesizer = folder / "out.jsonl.zst", synthesizer_of(run)
    documents, tokens = run.document_shards("train"), run.tokens("real")
    write_shard(output, begin, end, synthesizer=synthesizer, documents=documents, tokens=tokens, label="synthesize")
    rows = list(files.read_jsonl_zst(output))
    assert len(rows) == end - begin
    return rows


def test_rows_know_their_parents(make_run, tmp_path):
    run = make_run("rows")
    tokenizer = load_tokenizer(run.tokenizer)
    rows = written(tmp_path, run, 0, 70)
    documents = [row for shard in run.document_shards("train") for row in files.read_jsonl_zst(shard)]
    assert len(documents) == 60 and len(rows) == 70
    for row in rows:
        assert row["id"] == f"syn-{row['seed_row']}-{row['generation']}"
        assert row["seed_id"] == documents[row["seed_row"]]["id"]
        assert row["synthesizer"] == "ab" * 32
        assert (row["temperature"], row["top_p"], row["run_seed"]) == (1.0, 0.9, 1)
        assert row["tokens"] <= 50 and (row["finished"] or row["tokens"] == 50)
        assert not any(token in row["text"] for token in tokenizer.roles.values())
    assert {row["generation"] for row in rows} == {0, 1} and {row["finished"] for row in rows} == {True, False}
    assert len({row["text"] for row in rows}) > 60
    json.dumps(rows)
    # A generation is the same in another shard of the plan.
    again = written(tmp_path, run, 60, 70)
    assert [row["text"] for row in again] == [row["text"] for row in rows[60:]]
