from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from megatron_sbp.overlap.shared_shingles import TokenSpans
from megatron_sbp.pairing.field_rules import no_field_rules
from megatron_sbp.pairing.pairs_audit import PairsAudit
from megatron_sbp.pairing.rules import apply_rules
from megatron_sbp.recipe import Pairs


def audited(rules: Pairs, cuts: list[int], seed: int = 1) -> PairsAudit:
    """300 documents with random neighbors, some of them copies of others."""
    random = np.random.default_rng(0)
    ids = np.array([random.choice(np.delete(np.arange(300), row), 8, replace=False) for row in range(300)])
    scores = -np.sort(-random.uniform(0.2, 1.02, (300, 8)).astype(np.float32), axis=1)
    tokens = random.integers(0, 6, 300 * 20).astype(np.uint16)
    documents = TokenSpans(tokens, np.arange(300, dtype=np.int64) * 20, np.full(300, 20, np.int64))
    audit = PairsAudit(rules, seed)
    for own, values in zip(np.split(ids, cuts), np.split(scores, cuts), strict=True):
        found = apply_rules(own, values, audit.documents, documents, no_field_rules(len(documents)), rules)
        audit.add(own, found)
        kept = found.kept
        audit.add_pairs(found.seeds[kept], found.targets[kept], found.scores[kept], found.shared[kept])
    return audit


RULES = Pairs(alpha=0.5, max_similarity=0.95, shingle_tokens=5, max_shared_shingles=0.0, max_targets_per_seed=3)


def test_sums():
    summary = audited(RULES, [100]).summary()
    assert all(
        summary["dropped"][rule] > 0 for rule in ("below_alpha", "above_max_similarity", "near_duplicate", "cap")
    )
    assert summary["candidates"] == 2400 == summary["kept"] + sum(summary["dropped"].values())
    histogram = summary["score_histogram"]
    assert len(histogram["edges"]) == len(histogram["candidates"]) + 1 == len(histogram["kept"]) + 1
    assert sum(histogram["candidates"]) == 2400 and sum(histogram["kept"]) == summary["kept"]
    kept = np.array(histogram["kept"])
    edges = np.array(histogram["edges"])
    assert (
        edges[0] == 0.2 and edges[-1] == 1.0 and not kept[edges[1:] <= 0.5].any() and not kept[edges[:-1] > 0.95].any()
    )
    sizes = summary["targets_per_seed"]
    assert sum(int(size) * seeds for size, seeds in sizes["histogram"].items()) == summary["kept"]
    assert sum(sizes["histogram"].values()) == summary["documents_with_pairs"] and sizes["largest"] == 3
    json.dumps(summary, allow_nan=False)


def test_shards_change_nothing():
    read = lambda rows: {row: {"id": str(row), "text": "x" * 1000, "title": f"t{row}"} for row in rows}  # noqa: E731
    whole, parts = audited(RULES, []), audited(RULES, [1, 50, 51, 299])
    assert whole.summary() == parts.summary()
    assert whole.examples(read) == parts.examples(read) != audited(RULES, [], seed=2).examples(read)
    assert whole.best_below_alpha() == parts.best_below_alpha()


@pytest.mark.parametrize("sizes", [[3], [1, 2], [5, 1, 1], [2, 2, 9, 4], [7, 1, 3, 3, 10, 10]])
def test_targets_per_seed(sizes):
    """As NumPy has them of one number for each document; but no such numbers are made."""
    audit = PairsAudit(RULES, 1)
    state = audit.state() | {"targets_per_seed": {str(size): sizes.count(size) * 10**6 for size in sizes}}
    audit.absorb(json.loads(json.dumps(state)))
    tracemalloc.start()
    found = audit.summary()["targets_per_seed"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found["mean"] == np.mean(sizes) and found["median"] == np.median(sizes) and found["largest"] == max(sizes)
    assert peak < 1_000_000


def test_examples():
    asked = []

    def read(rows):
        asked.extend(rows)
        return {row: {"id": f"id{row}", "text": f"{row} " + "x" * 1000} for row in rows}

    examples = audited(RULES, [100]).examples(read)
    assert len(examples["examples"]) == 10 and len(examples["examples_dropped_near_duplicate"]) == 5
    for example in examples["examples"]:
        assert 0.5 < example["score"] <= 0.95 and example["shared_shingles"] == 0
        assert len(example["seed"]["text"]) == 300 and example["seed"]["title"] is None
        assert example["seed"]["id"] != example["target"]["id"]
    assert all(example["shared_shingles"] > 0 for example in examples["examples_dropped_near_duplicate"])
    assert len(asked) == len(set(asked)) <= 30


def test_full_lists_are_counted():
    """Documents whose last neighbor is above alpha: a larger k would find more."""
    ids = np.array([[1, 2], [0, -1], [0, 1], [-1, -1]])
    scores = np.array([[0.9, 0.8], [0.9, -2], [0.9, 0.4], [-2, -2]], np.float32)
    tokens = np.arange(80).astype(np.uint16)
    documents = TokenSpans(tokens, np.arange(4, dtype=np.int64) * 20, np.full(4, 20, np.int64))
    audit = PairsAudit(Pairs(alpha=0.5), 1)
    found = apply_rules(ids, scores, 0, documents, no_field_rules(len(documents)), Pairs(alpha=0.5))
    audit.add(ids, found)
    kept = found.kept
    audit.add_pairs(found.seeds[kept], found.targets[kept], found.scores[kept], found.shared[kept])
    assert audit.summary()["documents_with_full_lists"] == 1
    assert audit.summary()["documents_with_pairs"] == 3
