"""The pairs of four documents whose neighbors are given."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from megatron_sbp.overlap.shared_shingles import TokenSpans
from megatron_sbp.pairing.field_rules import no_field_rules
from megatron_sbp.pairing.pair_writing import mine_pairs
from megatron_sbp.recipe import Pairs

NAMES = pa.chunked_array([pa.array(["a", "b"], pa.large_string()), pa.array(["c", "d"], pa.large_string())])

IDS = np.array([[1, 2, 3], [0, 3, 2], [3, 0, 1], [1, 2, 0]])

SCORES = np.array([[0.9, 0.6, 0.5], [0.9, 0.8, 0.3], [0.7, 0.6, 0.3], [0.8, 0.7, 0.5]], np.float32)


def spans(count: int = 4, length: int = 30) -> TokenSpans:
    tokens = np.arange(count * length).astype(np.int32)
    return TokenSpans(tokens, np.arange(count, dtype=np.int64) * length, np.full(count, length, np.int64))


def mined_table(tmp_path, rules: Pairs, documents: TokenSpans | None = None, cuts=(2,), **given):
    shards = zip(np.split(IDS, cuts), np.split(SCORES, cuts), strict=True)
    file = tmp_path / "pairs.parquet"
    documents = documents or spans()
    fields = no_field_rules(len(documents))
    audit = mine_pairs(shards, documents, fields, NAMES, rules, run_seed=1, output=file, **given)
    return pq.read_table(file), audit
