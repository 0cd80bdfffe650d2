"""Mined pairs: parts joined are the whole, and a range without pairs is an error of its own."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megatron_sbp.base import files
from megatron_sbp.tokenization.encoding import write_texts
from megatron_sbp.tokenization.indexed import open_indexed
from megatron_sbp.tokenization.pair_parts import NoPairs, count_pairs, merge_pairs, tokenize_pairs
from megatron_sbp.tokenization.pairs import PairCounts, PairLimits

LIMITS = PairLimits(max_seed_tokens=20, max_target_tokens=30, seed_cut="tail")


def test_no_pairs_is_an_error_of_its_own(tokenizer, tmp_path):
    write_texts(["a text"], tmp_path / "real", tokenizer)
    pq.write_table(pa.table({"seed": np.empty(0, np.int64), "target": np.empty(0, np.int64)}), tmp_path / "p.parquet")
    with pytest.raises(NoPairs, match="has no pairs"):
        tokenize_pairs(tmp_path / "p.parquet", tmp_path / "real", tmp_path / "out", tokenizer, LIMITS)
    assert not (tmp_path / "out.bin").exists()


@pytest.mark.parametrize("row_group", [2, 3, 1000])
def test_parts_joined_are_the_whole(tokenizer, tmp_path, row_group):
    texts = [f"text {number} " + "word " * (number % 7) for number in range(20)]
    write_texts(texts, tmp_path / "real", tokenizer)
    random = np.random.default_rng(1)
    table = pa.table({"seed": random.integers(0, 20, 17), "target": random.integers(0, 20, 17), "score": np.ones(17)})
    pq.write_table(table, tmp_path / "p.parquet", row_group_size=row_group)
    assert count_pairs(tmp_path / "p.parquet") == 17
    whole = tokenize_pairs(tmp_path / "p.parquet", tmp_path / "real", tmp_path / "whole", tokenizer, LIMITS)
    parts = [tmp_path / str(number) for number in range(4)]
    for number, part in enumerate(parts):
        tokenize_pairs(
            tmp_path / "p.parquet", tmp_path / "real", part, tokenizer, LIMITS, first=5 * number, count=5
        )  # fmt: skip
    assert len(open_indexed(parts[3])) == 2 * 2
    written, counts = merge_pairs(tmp_path / "joined", parts, tokenizer)
    assert [file.read_bytes() for file in written] == [file.read_bytes() for file in whole[:2]]
    assert counts == PairCounts(**files.read_json(whole[2])) and counts.pairs == 17
    with pytest.raises(NoPairs):
        tokenize_pairs(tmp_path / "p.parquet", tmp_path / "real", tmp_path / "x", tokenizer, LIMITS, first=17, count=5)
