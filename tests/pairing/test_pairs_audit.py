from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from megatron_sbp.overlap.shared_shingles import TokenSpans
from megatron_sbp.pairing.field_rules import no_field_rules
from megatron_sbp.pairing.pair_rules import apply_rules
from megatron_sbp.pairing.pairs_audit import PairsAudit
from megatron_sbp.recipe import Pairs


def audited(rules: Pairs, cuts: list[int], seed: int = 1, rows: range = range(300)) -> PairsAudit:
    """Some of 300 documents with random neighbors, some of them copies of others."""
    random = np.random.default_rng(0)
    ids = np.array([random.choice(np.delete(np.arange(300), row), 8, replace=False) for row in range(300)])
    scores = -np.sort(-random.uniform(0.2, 1.02, (300, 8)).astype(np.float32), axis=1)
    tokens = random.integers(0, 6, 300 * 20).astype(np.uint16)
    documents = TokenSpans(tokens, np.arange(300, dtype=np.int64) * 20, np.full(300, 20, np.int64))
    audit = PairsAudit(rules, seed)
    ids, scores = ids[rows], scores[rows]
    for own, values in zip(np.split(ids, cuts), np.split(scores, cuts), strict=True):
        found = apply_rules(
            own,
            values,
            rows[0] + audit.documents,
            documents=documents,
            fields=no_field_rules(len(documents)),
            rules=rules,
        )
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
    bands = examples["bands"]
    assert [band["from"] for band in bands] == [0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5]
    for band in bands:
        scores = [example["score"] for example in band["examples"]]
        assert len(scores) == 10 < band["pairs"] and scores == sorted(scores, reverse=True)
        assert all(band["from"] <= score <= band["to"] for score in scores)
        assert len({(example["seed"]["id"], example["target"]["id"]) for example in band["examples"]}) == 10
    assert sum(band["pairs"] for band in bands) == audited(RULES, [100]).summary()["kept"]
    assert len(asked) == len(set(asked)) <= 30 + 9 * 20


def documents(rows):
    return {row: {"id": str(row), "text": f"text {row}"} for row in rows}


def test_states_are_absorbed_in_any_order():
    """What the tasks of a run do: each its shards, and the closing process joins them."""
    parts = [audited(RULES, [], seed=1, rows=rows) for rows in (range(0, 90), range(90, 91), range(91, 300))]
    for order in ([0, 1, 2], [2, 0, 1]):
        whole = PairsAudit(RULES, 1)
        for place in order:
            whole.absorb(json.loads(json.dumps(parts[place].state())))
        assert whole.summary() == audited(RULES, []).summary()
        assert whole.examples(documents) == audited(RULES, []).examples(documents)


def test_shards_of_a_former_version_have_no_bands():
    old, audit = audited(RULES, []).state(), PairsAudit(RULES, 1)
    del old["bands"]
    audit.absorb(json.loads(json.dumps(old)))
    assert len(audit.examples(documents)["examples"]) == 10 and "bands" not in audit.examples(documents)
    audit.absorb(audited(RULES, []).state())
    assert "bands" not in audit.examples(documents)  # it would be of a part of the pairs


@pytest.mark.parametrize("cut", [1, 20, 39])
def test_a_band_shows_one_direction_of_a_pair(cut):
    """Forty documents, each with its neighbor, in both directions; in one shard, or in two."""
    seeds = np.arange(40)
    columns = seeds, seeds ^ 1, np.full(40, 0.77, np.float32), np.zeros(40)
    audits = PairsAudit(RULES, 1), PairsAudit(RULES, 1), PairsAudit(RULES, 1)
    audits[0].add_pairs(*columns)
    for audit, part in zip(audits[1:], (slice(cut), slice(cut, None)), strict=True):
        audit.add_pairs(*(column[part] for column in columns))
    audits[2].absorb(audits[1].state())
    for audit in (audits[0], audits[2]):
        [band] = audit.examples(documents)["bands"]
        assert (band["pairs"], len(band["examples"])) == (40, 10)
        assert all(int(pair["target"]["id"]) == int(pair["seed"]["id"]) + 1 for pair in band["examples"])
    assert audits[0].examples(documents)["bands"] == audits[2].examples(documents)["bands"]


def test_full_lists_are_counted():
    """Documents whose last neighbor is above alpha: a larger k would find more."""
    ids = np.array([[1, 2], [0, -1], [0, 1], [-1, -1]])
    scores = np.array([[0.9, 0.8], [0.9, -2], [0.9, 0.4], [-2, -2]], np.float32)
    tokens = np.arange(80).astype(np.uint16)
    documents = TokenSpans(tokens, np.arange(4, dtype=np.int64) * 20, np.full(4, 20, np.int64))
    audit = PairsAudit(Pairs(alpha=0.5), 1)
    found = apply_rules(
        ids, scores, 0, documents=documents, fields=no_field_rules(len(documents)), rules=Pairs(alpha=0.5)
    )
    audit.add(ids, found)
    kept = found.kept
    audit.add_pairs(found.seeds[kept], found.targets[kept], found.scores[kept], found.shared[kept])
    assert audit.summary()["documents_with_full_lists"] == 1
    assert audit.summary()["documents_with_pairs"] == 3
