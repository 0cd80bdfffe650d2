"""Verdicts on raw generations, shard by shard, and the audit that adds up."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.base import files
from megatron_sbp.recipe import Filter
from megatron_sbp.synthesis.filter_shards import KEPT, JudgedShard, judge_shard, write_kept
from megatron_sbp.synthesis.rules import RULES
from megatron_sbp.tokenization.encoding import write_texts
from megatron_sbp.tokenization.tokenizer import save_tokenizer

FILTER = Filter(min_tokens=4)


@pytest.fixture
def judge(tmp_path, tokenizer, texts):
    """Judges rows as one shard; gives the shard."""
    save_tokenizer(tmp_path / "tokenizer", tokenizer)
    write_texts(texts[:5], tmp_path / "real", tokenizer)

    def made(name: str, rows: list[dict]) -> JudgedShard:
        shard = JudgedShard(*(tmp_path / kind / name for kind in ("generations", "verdicts", "kept")))
        shard = JudgedShard(shard.generations.with_suffix(".jsonl.zst"), shard.verdicts.with_suffix(".npz"),
                            shard.output.with_suffix(".jsonl.zst"))  # fmt: skip
        files.write_jsonl_zst(shard.generations, rows)
        judge_shard(
            shard.generations, shard.verdicts, tokenizer=tmp_path / "tokenizer", tokens=tmp_path / "real",
            rules=FILTER, length=13,
        )  # fmt: skip
        return shard

    return made


def row(text: str, seed_row: int | None = 0, finished: bool = True, **more) -> dict:
    return {"id": text[:9], "text": text, "tokens": 20, "finished": finished, "seed_row": seed_row, **more}


def rules_of(shard: JudgedShard) -> list[str]:
    with np.load(shard.verdicts) as judged:
        return ["kept" if verdict == KEPT else RULES[verdict] for verdict in judged["verdict"].tolist()]


def test_each_rule_by_its_name(judge, texts):
    shard = judge("00000", [
        row(texts[7]), row(texts[8], finished=False), row("ab"), row("round and round it goes " * 30),
        row(texts[0]), row(texts[0], seed_row=1), row(texts[0], seed_row=None),
    ])  # fmt: skip
    assert rules_of(shard) == ["kept", "unfinished", "too_short", "repetition", "copying", "kept", "kept"]
    with np.load(shard.verdicts) as judged:
        assert len(judged["digest"]) == len(judged["signature"]) == 3 and judged["signature"].dtype == np.uint32


def test_duplicates_are_found_over_shards_and_the_audit_adds_up(judge, texts, tmp_path):
    shards = [judge("00000", [row(texts[7]), row("ab")]), judge("00001", [row(f" {texts[7]} "), row(texts[8])])]
    written = write_kept(shards, tmp_path / "audit.json", FILTER)
    assert written == [shards[0].output, shards[1].output, tmp_path / "audit.json"]
    assert [kept["text"] for shard in shards for kept in files.read_jsonl_zst(shard.output)] == [texts[7], texts[8]]
    audit = files.read_json(tmp_path / "audit.json")
    assert (audit["generations"], audit["kept"], audit["dropped"]["duplicate"]) == (4, 2, 1)
    assert sum(audit["dropped"].values()) + audit["kept"] == 4 and audit["examples"]["too_short"] == ["ab"]
    assert audit["tokens"] == sum(kept["tokens"] for shard in shards for kept in files.read_jsonl_zst(shard.output))


def test_nothing_written_is_an_empty_audit(judge, tmp_path):
    write_kept([judge("00000", [])], tmp_path / "audit.json", FILTER)
    audit = files.read_json(tmp_path / "audit.json")
    assert (audit["generations"], audit["kept"], audit["mean_tokens"], audit["finished_share"]) == (0, 0, 0.0, 0.0)
