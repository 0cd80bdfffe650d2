"""Verdicts on raw generations by themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.judged_shard import judged_shard, row

from megatron_sbp.overlap.near_duplicates import BANDS
from megatron_sbp.recipe import Filter
from megatron_sbp.synthesis import judging
from megatron_sbp.synthesis.judged import PASSED, Judged
from megatron_sbp.synthesis.retokenized import DIFFERENT, SAME, UNKNOWN
from megatron_sbp.synthesis.rule_names import RULES
from megatron_sbp.tokenization.written_ids import pack_ids


def rules_of(shard: Judged) -> list[str]:
    return ["passed" if verdict == PASSED else RULES[verdict] for verdict in np.load(shard.verdicts)[0].tolist()]


@pytest.mark.parametrize("at_once", [256, 2])
def test_each_rule_by_its_name(tmp_path, tokenizer, texts, monkeypatch, at_once):
    monkeypatch.setattr(judging, "_AT_ONCE", at_once)
    rows = [
        row(texts[7]), row(texts[8], finished=False), row("ab"), row("round and round it goes " * 30),
        row(texts[0]), row(texts[0], seed_row=1), row(texts[0], seed_row=None), row(f"{texts[7]} \x07"),
    ]  # fmt: skip
    shard = judged_shard(tmp_path, tokenizer, texts, rows)
    expected = ["passed", "unfinished", "too_short", "repetition", "copying", "passed", "passed", "broken_text"]
    assert rules_of(shard) == expected
    assert np.load(shard.verdicts)[1].tolist() == [len(tokenizer.encode_batch([each["text"]])[0]) + 1 for each in rows]
    digests, signatures, bands = (np.load(part) for part in (shard.digests, shard.signatures, shard.bands))
    assert digests.shape == (3,) and digests[1] == digests[2] != digests[0]
    assert signatures.shape == (3, 128) and bands.shape == (BANDS, 3)


def test_signatures_are_there_for_near_duplicates_only(tmp_path, tokenizer, texts):
    shard = judged_shard(tmp_path, tokenizer, texts, [row(texts[7])], Filter(min_tokens=4, duplicates="exact"))
    assert [part.exists() for part in (shard.verdicts, shard.digests, shard.signatures, shard.bands)] == [
        True, True, False, False,
    ]  # fmt: skip


def test_an_empty_shard(tmp_path: Path, tokenizer, texts):
    shard = judged_shard(tmp_path, tokenizer, texts, [])
    assert np.load(shard.verdicts).shape == (2, 0) and np.load(shard.signatures).shape == (0, 128)
    assert np.load(shard.bands).shape == (BANDS, 0)


@pytest.mark.parametrize("retokenize", [False, True])
def test_tokens_are_those_that_training_reads(tmp_path, tokenizer, texts, retokenize):
    """Of a text that was spelled with other tokens too; rules see those of the text, in which a copy is a copy."""
    again = tokenizer.encode_batch(texts[:9])
    spelled = [np.concatenate(tokenizer.encode_batch(list(text))).astype(int) for text in texts[:9]]
    rows = [
        {**row(texts[7]), "token_ids": pack_ids(np.array(again[7]))},
        {**row(texts[8]), "token_ids": pack_ids(spelled[8])},
        {**row(texts[0]), "token_ids": pack_ids(spelled[0])},
        {**row(texts[6]), "token_ids": pack_ids(spelled[5])},  # of another text
        row(texts[5]),
    ]
    rules = Filter(min_tokens=4, retokenize=retokenize)
    shard = judged_shard(tmp_path, tokenizer, texts, rows, rules)
    verdicts, tokens, states = np.load(shard.verdicts)
    assert states.tolist() == [SAME, DIFFERENT, DIFFERENT, UNKNOWN, UNKNOWN]
    canonical = [len(again[place]) + 1 for place in (7, 8, 0, 6, 5)]
    written = [canonical[0], len(spelled[8]) + 1, len(spelled[0]) + 1, *canonical[3:]]
    assert tokens.tolist() == (canonical if retokenize else written) and written != canonical
    assert rules_of(shard)[:3] == ["passed", "passed", "copying"] and verdicts.dtype == np.int32
