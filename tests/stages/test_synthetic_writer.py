"""Rows of generations have the tokens that the engine wrote, and say where they come from."""

from __future__ import annotations

import pytest
from support.synthesis_run import execute_synthesis

from megatron_sbp.base import files
from megatron_sbp.synthesis.synthesizer import ids_digest
from megatron_sbp.synthesis.transformers_engine import TransformersEngine
from megatron_sbp.tokenization.tokenizer import load_tokenizer
from megatron_sbp.tokenization.written_ids import unpack_ids

pytestmark = pytest.mark.timeout(300)


def test_rows_have_the_tokens_that_the_engine_wrote_and_where_they_come_from(make_run, monkeypatch):
    run, written, write = make_run("ids"), {}, TransformersEngine.write
    run.pairs("train").parent.mkdir(parents=True)
    run.pairs("train").write_bytes(b"the pairs tuned on")

    def noted(self, generations, prompts):
        texts = write(self, generations, prompts)
        written.update({generation.name: text for generation, text in zip(generations, texts, strict=True)})
        return texts

    monkeypatch.setattr(TransformersEngine, "write", noted)
    execute_synthesis(run, "synthesize")
    rows = [row for shard in run.generation_shards() for row in files.read_jsonl_zst(shard)]
    tokenizer, whole = load_tokenizer(run.tokenizer), 0
    for row in rows:
        ids, own = unpack_ids(row["token_ids"]).tolist(), written[row["id"]].tokens.tolist()
        assert ids == own[: len(ids)] and (ids == own or not row["finished"])
        assert row["ids_digest"] == ids_digest(ids) and tokenizer.decode(ids) == row["text"]
        whole += ids == own
    assert len(rows) - 5 < whole <= len(rows) == 120
    same = [{name: row[name] for name in LINEAGE} for row in rows]
    assert all(each == LINEAGE for each in same)
    pairs = {(row["pairs_file"], row["pairs"]) for row in rows}
    assert pairs == {("pairs/pairs.parquet", files.sha256(run.pairs("train")))}


LINEAGE = {
    "synthesizer": "ab" * 32, "temperature": 1.0, "top_p": 0.9, "max_new_tokens": 50, "engine": "transformers",
    "precision": "fp32", "run_seed": 1, "round": 1,
}  # fmt: skip
