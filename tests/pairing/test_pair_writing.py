from __future__ import annotations

import os
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.overlap.shared_shingles import TokenSpans
from megatron_sbp.pairing import pair_writing
from megatron_sbp.pairing.field_rules import no_field_rules
from megatron_sbp.pairing.pair_writing import SCHEMA, mine_pairs
from megatron_sbp.recipe import Pairs

NAMES = pa.chunked_array([pa.array(["a", "b"], pa.large_string()), pa.array(["c", "d"], pa.large_string())])
IDS = np.array([[1, 2, 3], [0, 3, 2], [3, 0, 1], [2, 1, 0]])
SCORES = np.array([[0.9, 0.6, 0.5], [0.9, 0.8, 0.3], [0.7, 0.6, 0.3], [0.7, 0.8, 0.5]], np.float32)
SCORES[3] = [0.8, 0.7, 0.5]
IDS[3] = [1, 2, 0]


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


@pytest.mark.parametrize("cuts", [(), (2,), (1, 2, 3)])
def test_file(tmp_path, cuts):
    table, audit = mined_table(tmp_path, Pairs(alpha=0.55), cuts=cuts)
    assert table.schema.equals(SCHEMA)
    rows = [(r["seed"], r["target"], r["seed_id"], r["target_id"], round(r["score"], 2)) for r in table.to_pylist()]
    assert rows == [
        (0, 1, "a", "b", 0.9), (0, 2, "a", "c", 0.6), (1, 0, "b", "a", 0.9), (1, 3, "b", "d", 0.8),
        (2, 3, "c", "d", 0.7), (2, 0, "c", "a", 0.6), (3, 1, "d", "b", 0.8), (3, 2, "d", "c", 0.7),
    ]  # fmt: skip
    summary = audit.summary()
    assert (summary["documents"], summary["documents_with_pairs"]) == (4, 4)
    assert (summary["candidates"], summary["kept"], summary["dropped"]["below_alpha"]) == (12, 8, 4)


def test_same_bytes(tmp_path):
    mined_table(tmp_path, Pairs(alpha=0.55))
    first = (tmp_path / "pairs.parquet").read_bytes()
    mined_table(tmp_path, Pairs(alpha=0.55))
    assert (tmp_path / "pairs.parquet").read_bytes() == first


@pytest.mark.parametrize("joint", [{}, {"max_seeds_per_target": 1}])
def test_ids_are_looked_up_for_several_shards_at_a_time(tmp_path, monkeypatch, joint):
    """Two shards, each waiting for the other one."""
    expected, _ = mined_table(tmp_path, Pairs(alpha=0.55, **joint))
    together, own = threading.Barrier(2), pair_writing.take_ids

    def met(names: pa.ChunkedArray, rows: pa.ChunkedArray) -> pa.ChunkedArray:
        together.wait(10)
        return own(names, rows)

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(pair_writing, "take_ids", met)
    assert mined_table(tmp_path, Pairs(alpha=0.55, **joint))[0].equals(expected)


def test_no_pairs_names_an_alpha_that_gives_some(tmp_path):
    with pytest.raises(InputError) as caught:
        mined_table(tmp_path, Pairs(alpha=0.95))
    message = str(caught.value)
    assert message.startswith(
        "'pairs.alpha': no pairs among 4 train documents: alpha is 0.95, the largest score found is"
    )
    assert "0.9000 (below_alpha 12); alpha 0.49 would leave about 10" in message
    assert not (tmp_path / "pairs.parquet").exists()
    table, _ = mined_table(tmp_path, Pairs(alpha=0.49))
    assert table.num_rows == 10


def test_the_named_alpha_regards_the_other_rules(tmp_path):
    documents = spans()
    documents.tokens[30:60] = documents.tokens[:30]  # b is a copy of a
    with pytest.raises(InputError, match=r"the largest score found is 0\.9000") as caught:
        mined_table(tmp_path, Pairs(alpha=0.95, max_similarity=0.75), documents)
    assert "alpha 0.29 would leave about 8" in str(caught.value)
    table, _ = mined_table(tmp_path, Pairs(alpha=0.29, max_similarity=0.75), documents)
    assert table.num_rows == 8


def test_when_no_alpha_helps(tmp_path):
    with pytest.raises(InputError, match=r"\(below_alpha \d+, short_target \d+\); the other rules .* drop all of them"):
        mined_table(tmp_path, Pairs(alpha=0.55, min_target_tokens=31))


def test_nothing_is_left_by_the_rules_that_regard_all_pairs(tmp_path):
    documents = spans()
    documents.tokens[30:60] = documents.tokens[:30]  # b is a copy of a
    rules = Pairs(alpha=0.85, max_shared_shingles=1.0, collapse_above=0.5, directions="one")
    with pytest.raises(InputError, match=r"\(copy 2, cap 0, direction 0\)") as caught:
        mined_table(tmp_path, rules.model_copy(update={"max_targets_per_seed": 3}), documents)
    assert str(caught.value).startswith("'pairs': no pairs are left") and not (tmp_path / "pairs.parquet").exists()


def test_a_single_document(tmp_path):
    names = pa.chunked_array([pa.array(["a"], pa.large_string())])
    shard = (np.full((1, 3), -1), np.full((1, 3), -2, np.float32))
    with pytest.raises(InputError, match=r"'documents.valid': no pairs: the valid split has 1 documents"):
        output = tmp_path / "x.parquet"
        mine_pairs([shard], spans(1), no_field_rules(1), names, Pairs(), run_seed=1, output=output, split="valid")


def test_random_has_the_same_seeds_and_counts(tmp_path, save_vectors, helpers):
    vectors = save_vectors(np.split(helpers.unit_vectors(4, 16), [3]))
    rules = Pairs(alpha=0.65)
    similar, _ = mined_table(tmp_path, rules)
    table, audit = mined_table(tmp_path, rules.model_copy(update={"relation": "random"}), vectors=vectors)
    assert table["seed"].to_pylist() == similar["seed"].to_pylist()
    scores = (vectors.take(table["seed"].to_numpy()) * vectors.take(table["target"].to_numpy())).sum(1)
    np.testing.assert_allclose(table["score"].to_numpy(), scores, atol=1e-6)
    order = [(r["seed"], -r["score"], r["target"]) for r in table.to_pylist()]
    assert order == sorted(order)
    assert all(r["seed"] != r["target"] for r in table.to_pylist())
    summary = audit.summary()
    assert summary["relation"] == "random" and summary["dropped"]["not_drawn"] == 0
    assert summary["kept"] == similar.num_rows


def test_random_says_what_could_not_be_drawn(tmp_path, save_vectors, helpers):
    documents = spans()
    documents.tokens[30:60] = documents.tokens[:30]  # b is a copy of a: of three others each has two left
    rules = Pairs(alpha=0.29, max_shared_shingles=0.5, relation="random")
    table, audit = mined_table(tmp_path, rules, documents, vectors=save_vectors([helpers.unit_vectors(4, 16)]))
    summary = audit.summary()
    assert summary["dropped"]["near_duplicate"] == 2 and table.num_rows == summary["kept"] == 10
    assert {(r["seed"], r["target"]) for r in table.to_pylist()}.isdisjoint({(0, 1), (1, 0)})
