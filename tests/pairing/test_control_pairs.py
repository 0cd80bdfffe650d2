"""Random pairs have the seeds and counts of the mined ones."""

from __future__ import annotations

import numpy as np
from support.mined_table import mined_table, spans

from megatron_sbp.recipe import Pairs


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
