"""What is counted at every threshold is what the rules would keep there."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.overlap.shared_shingles import TokenSpans
from megatron_sbp.pairing.exploring import SampledNeighbors, explore_pairs
from megatron_sbp.pairing.field_rules import FieldRules, no_field_rules
from megatron_sbp.pairing.pair_rules import apply_rules
from megatron_sbp.recipe import Pairs

DOCUMENTS, K = 60, 12
CHANCE = np.random.default_rng(5).normal(0.2, 0.1, 2000)


@pytest.fixture(scope="module")
def documents() -> TokenSpans:
    """Of 10 to 40 tokens; many share some of them."""
    random = np.random.default_rng(1)
    common = random.integers(0, 500, 40)
    texts = []
    for length in random.integers(10, 41, DOCUMENTS):
        text = random.integers(0, 500, length)
        shared = random.integers(0, length + 1)
        text[:shared] = common[:shared]
        texts.append(text)
    lengths = np.array([len(text) for text in texts], np.int64)
    return TokenSpans(np.concatenate(texts).astype(np.uint16), np.cumsum(lengths) - lengths, lengths)


@pytest.fixture(scope="module")
def neighbors() -> tuple[np.ndarray, np.ndarray]:
    """ids [documents, k] and scores, some lists shorter than k."""
    random = np.random.default_rng(2)
    ids = np.stack([random.permutation(np.delete(np.arange(DOCUMENTS), row))[:K] for row in range(DOCUMENTS)])
    # Hundredths among them: alpha itself is not above alpha.
    scores = -np.sort(-np.round(random.uniform(0.1, 1, ids.shape), 2).astype(np.float32), axis=1)
    for row in range(0, DOCUMENTS, 3):
        ids[row, K - row % 5 :], scores[row, K - row % 5 :] = -1, -2
    return ids, scores


ANY = no_field_rules(DOCUMENTS)


def explored(documents, ids, scores, rules, rows=None, examples=2, fields=ANY):
    rows = np.arange(len(ids)) if rows is None else rows
    sample = SampledNeighbors(rows, ids, scores)
    return explore_pairs(
        sample,
        CHANCE,
        documents,
        fields,
        rules,
        run_seed=1,
        examples=examples,
        text_of=lambda tokens: f"<{len(tokens)}>",
    )


@pytest.mark.parametrize(
    "others",
    [
        {},
        {"max_targets_per_seed": 2},
        {"max_similarity": 0.9, "min_target_tokens": 20},
        {"min_target_tokens": 12, "max_target_tokens": 30, "same_fields": ["language"], "max_targets_per_seed": 3},
        {"max_similarity": 0.93, "max_targets_per_seed": 1, "shingle_tokens": 5, "max_shared_shingles": 0.12},
    ],
)
def test_counts_are_those_of_the_rules(documents, neighbors, others):
    ids, scores = neighbors
    fields = ANY
    if "same_fields" in others:
        fields = FieldRules(np.arange(DOCUMENTS, dtype=np.uint64)[None] % 3, np.array([True]))
    found = explored(documents, ids, scores, Pairs(alpha=0.4, **others), fields=fields)
    assert len(found["alphas"]) >= 60
    for row in found["alphas"][::7]:
        assert str(found["max_shared_shingles"]) in row["kept"]
        for limit, counts in row["kept"].items():
            rules = Pairs(alpha=row["alpha"], **{**others, "max_shared_shingles": float(limit)})
            candidates = apply_rules(ids, scores, 0, documents=documents, fields=fields, rules=rules)
            seeds = candidates.seeds[candidates.kept]
            assert counts == {"pairs": len(seeds), "documents_with_pairs": len(np.unique(seeds))}, (row["alpha"], limit)
    # Both ends of what is compared are met: something is dropped, and something is kept.
    first = found["alphas"][0]["kept"]
    assert 0 < first[str(found["max_shared_shingles"])]["pairs"] < (ids >= 0).sum()


@pytest.mark.parametrize("cap", [None, 1])
def test_near_duplicates_are_a_part_of_the_pairs_above_alpha_whatever_the_cap(documents, neighbors, cap):
    ids, scores = neighbors
    found = explored(documents, ids, scores, Pairs(alpha=0.4, max_shared_shingles=0.3, max_targets_per_seed=cap))
    for row in found["alphas"][::9]:
        kept, whole = (
            apply_rules(
                ids,
                scores,
                0,
                documents=documents,
                fields=ANY,
                rules=Pairs(alpha=row["alpha"], max_shared_shingles=limit),
            ).kept.sum()
            for limit in (0.3, 1.0)
        )
        assert row["near_duplicates"] == pytest.approx(1 - kept / whole if whole else 0)
    assert 0 < found["alphas"][0]["near_duplicates"] < 1


@pytest.mark.parametrize("alpha", [0.29, 0.57, 0.58])  # a hundred times that is a little less than a whole number
def test_no_hundredth_is_below_what_is_counted(documents, neighbors, alpha):
    ids, scores = neighbors
    chance = np.random.default_rng(5).normal(0.7, 0.01, 2000)
    sample = SampledNeighbors(np.arange(len(ids)), ids, scores)
    more = {"run_seed": 1, "examples": 0, "text_of": str}
    row = explore_pairs(sample, chance, documents, ANY, Pairs(alpha=alpha), **more)["alphas"][0]
    assert row["alpha"] == alpha
    kept = apply_rules(ids, scores, 0, documents=documents, fields=ANY, rules=Pairs(alpha=row["alpha"])).kept.sum()
    assert row["kept"]["0.15"]["pairs"] == kept


def test_some_documents_of_many(documents, neighbors):
    ids, scores = neighbors
    rows = np.array([3, 10, 11, 40])
    found = explored(documents, ids[rows], scores[rows], Pairs(alpha=0.5), rows)
    assert (found["documents"], found["sampled"], found["k"]) == (DOCUMENTS, 4, K)
    at_alpha = next(row for row in found["alphas"] if row["alpha"] == 0.5)
    expected = sum(
        int(
            apply_rules(
                ids[row : row + 1], scores[row : row + 1], row, documents=documents, fields=ANY, rules=Pairs(alpha=0.5)
            ).kept.sum()
        )
        for row in rows
    )
    assert at_alpha["kept"]["0.15"]["pairs"] == expected > 0
    assert {example["seed"]["row"] for band in found["bands"] for example in band["examples"]} <= set(rows.tolist())


def test_lists_that_end_above_alpha(documents, neighbors):
    ids, scores = neighbors
    found = explored(documents, ids, scores, Pairs(alpha=0.1))
    for row in found["alphas"][::10]:
        full = (ids[:, -1] >= 0) & (scores[:, -1] > np.float32(row["alpha"]))
        assert row["documents_with_full_lists"] == full.sum()
    assert found["alphas"][0]["documents_with_full_lists"] > 0


def test_what_random_pairs_have(documents, neighbors):
    found = explored(documents, *neighbors, Pairs(alpha=0.3))
    assert found["chance"]["mean"] == pytest.approx(CHANCE.mean())
    assert found["alphas"][0]["alpha"] == 0.3
    assert found["alphas"][0]["random_pairs_above"] == np.mean(CHANCE > 0.3) > 0


def test_it_begins_at_the_chance_level_where_alpha_is_above_it(documents, neighbors):
    found = explored(documents, *neighbors, Pairs(alpha=0.9))
    level = found["chance"]["level"]
    assert found["alphas"][0]["alpha"] <= level < found["alphas"][0]["alpha"] + 0.05


def test_an_alpha_between_hundredths(documents, neighbors):
    ids, scores = neighbors
    found = explored(documents, ids, scores, Pairs(alpha=0.455))
    (row,) = (row for row in found["alphas"] if row["alpha"] == 0.455)
    assert (
        row["kept"]["0.15"]["pairs"]
        == apply_rules(ids, scores, 0, documents=documents, fields=ANY, rules=Pairs(alpha=0.455)).kept.sum()
    )


def test_examples_of_every_band(documents, neighbors):
    ids, scores = neighbors
    found = explored(documents, ids, scores, Pairs(alpha=0.5), examples=3)
    assert [band["from"] for band in found["bands"]] == sorted((band["from"] for band in found["bands"]), reverse=True)
    for band in found["bands"]:
        both_ways = {frozenset((one["seed"]["row"], one["target"]["row"])) for one in band["examples"]}
        assert len(band["examples"]) == len(both_ways) >= min(3, -(-band["pairs"] // 2))
        for example in band["examples"]:
            assert band["from"] - 1e-6 <= example["score"] and (example["score"] < band["to"] or band["to"] == 1)
            seed, target = example["seed"]["row"], example["target"]["row"]
            assert target in ids[seed] and example["score"] == pytest.approx(
                float(scores[seed][ids[seed] == target][0]), abs=1e-4
            )
            assert example["target"]["text"] == f"<{documents.lengths[target]}>"
    assert explored(documents, ids, scores, Pairs(alpha=0.5), examples=3) == found


def test_equal_documents_are_in_the_highest_band():
    """No cosine lies above 1 but by rounding."""
    documents = TokenSpans(np.arange(40, dtype=np.uint16), np.array([0, 20]), np.array([20, 20]))
    found = explored(documents, np.array([[1], [0]]), np.array([[1.0], [1.00005]], np.float32), Pairs(alpha=0.5))
    assert [(band["from"], band["to"], band["pairs"]) for band in found["bands"]] == [(0.95, 1.0, 2)]


def test_long_texts_are_cut():
    tokens = np.arange(300, dtype=np.uint16)
    documents = TokenSpans(tokens, np.array([0, 100]), np.array([100, 200]))
    found = explored(documents, np.array([[1], [0]]), np.array([[0.9], [0.9]], np.float32), Pairs(alpha=0.5))
    assert found["bands"][0]["examples"][0]["seed"]["text"] == "<60> [...]"


def test_no_pair_above_anything(documents):
    found = explored(documents, np.array([[1], [0]]), np.full((2, 1), 0.01, np.float32), Pairs(alpha=0.75))
    assert found["bands"] == [] and found["advice"]["rule"] == "none"
    assert all(counts["pairs"] == 0 for row in found["alphas"] for counts in row["kept"].values())
    assert not any(row["near_duplicates"] for row in found["alphas"])
