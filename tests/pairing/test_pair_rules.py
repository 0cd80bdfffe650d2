from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.overlap.shared_shingles import TokenSpans
from megatron_sbp.pairing.field_rules import FieldRules, no_field_rules
from megatron_sbp.pairing.pair_rules import RULES, apply_rules, rules_of
from megatron_sbp.recipe import Pairs

TEXT = list(range(100, 140))


def spans(documents: list[list[int]]) -> TokenSpans:
    lengths = np.array([len(document) for document in documents], np.int64)
    return TokenSpans(np.concatenate(documents).astype(np.uint16), np.cumsum(lengths) - lengths, lengths)


def different(count: int, length: int = 40) -> list[list[int]]:
    return [list(range(1000 * (n + 1), 1000 * (n + 1) + length)) for n in range(count)]


def fate(
    ids: list[list[int]],
    scores: list[list[float]],
    documents: TokenSpans,
    first_row: int = 0,
    fields: FieldRules | None = None,
    **rules,
):
    fields = fields or no_field_rules(len(documents))
    found = apply_rules(
        np.array(ids), np.array(scores, np.float32), first_row, documents=documents, fields=fields, rules=Pairs(**rules)
    )
    names = [RULES[place] if place >= 0 else "kept" for place in found.fell_to]
    return list(zip(found.seeds.tolist(), found.targets.tolist(), names, strict=True))


def test_alpha_is_exclusive():
    found = fate([[1, 2, 3]], [[0.8, 0.75, 0.7]], spans(different(4)), alpha=0.75)
    assert found == [(0, 1, "kept"), (0, 2, "below_alpha"), (0, 3, "below_alpha")]


def test_padding_is_no_candidate():
    assert fate([[1, -1], [-1, -1]], [[0.8, -2], [-2, -2]], spans(different(2)), alpha=0.1) == [(0, 1, "kept")]


def test_max_similarity():
    found = fate([[1, 2, 3]], [[0.99, 0.95, 0.9]], spans(different(4)), max_similarity=0.95)
    assert found == [(0, 1, "above_max_similarity"), (0, 2, "kept"), (0, 3, "kept")]


def test_short_targets_but_not_short_seeds():
    documents = spans([[1] * 5, TEXT, list(range(200, 209)), list(range(300, 310))])
    found = fate([[1, 2, 3], [0, 3, 2]], [[0.9] * 3, [0.9] * 3], documents, min_target_tokens=10)
    assert found == [
        (0, 1, "kept"), (0, 2, "short_target"), (0, 3, "kept"),
        (1, 0, "short_target"), (1, 3, "kept"), (1, 2, "short_target"),
    ]  # fmt: skip


def test_long_targets_but_not_long_seeds():
    documents = spans([[1] * 11, TEXT, list(range(200, 210))])
    found = fate([[1, 2, -1], [2, 0, -1]], [[0.9, 0.9, -2]] * 2, documents, max_target_tokens=10)
    assert found == [(0, 1, "long_target"), (0, 2, "kept"), (1, 2, "kept"), (1, 0, "long_target")]


def test_fields_of_both_documents():
    """Same language, another site; a document that lacks a field is like no other."""
    languages, sites = [1, 1, 2, 1, 0, 0], [7, 8, 9, 7, 6, 6]
    fields = FieldRules(np.array([languages, sites], np.uint64), np.array([True, False]))
    ids = [[1, 2, 3, 4], [0, 2, 3, 5], [0, 1, 3, 4], [0, 1, 2, 4], [0, 1, 2, 5], [4, 0, 1, 2]]
    found = fate(ids, [[0.9] * 4] * 6, spans(different(6)), fields=fields)
    kept = {(seed, target) for seed, target, name in found if name == "kept"}
    assert kept == {(0, 1), (1, 0), (1, 3), (3, 1)} and {name for *_, name in found} == {"kept", "fields"}
    only_sites = FieldRules(fields.values[1:], np.array([False]))
    kept = {end[:2] for end in fate(ids, [[0.9] * 4] * 6, spans(different(6)), fields=only_sites) if end[2] == "kept"}
    assert len(kept) == 24 - 4 and (4, 5) not in kept and (0, 3) not in kept and (0, 4) in kept


@pytest.mark.parametrize(("shared", "fell"), [(16, "kept"), (17, "near_duplicate"), (40, "near_duplicate")])
def test_near_duplicates_share_more_than_the_limit(shared, fell):
    """40 tokens have 28 shingles of 13; with the first `shared` tokens in common they share shared - 12."""
    other = TEXT[:shared] + list(range(500, 540 - shared))
    found = fate([[1]], [[0.9]], spans([TEXT, other]), shingle_tokens=13, max_shared_shingles=4 / 28)
    assert found == [(0, 1, fell)]


def test_a_short_copy_inside_a_long_document():
    long = list(range(300)) + TEXT + list(range(600, 900))
    assert fate([[1], [0]], [[0.9], [0.9]], spans([TEXT, long])) == [(0, 1, "near_duplicate"), (1, 0, "near_duplicate")]


def test_cap_keeps_the_best_that_pass_the_other_rules():
    documents = spans([TEXT, TEXT[:39], *different(4)])
    found = fate([[1, 2, 3, 4, 5]], [[0.95, 0.9, 0.85, 0.8, 0.3]], documents, max_targets_per_seed=2)
    assert found == [
        (0, 1, "near_duplicate"), (0, 2, "kept"), (0, 3, "kept"), (0, 4, "cap"), (0, 5, "below_alpha"),
    ]  # fmt: skip


def test_the_cap_is_per_seed_and_both_orders_are_pairs():
    found = fate([[1, 2], [0, 2], [0, 1]], [[0.9, 0.8]] * 3, spans(different(3)), max_targets_per_seed=1)
    assert [pair for pair in found if pair[2] == "kept"] == [(0, 1, "kept"), (1, 0, "kept"), (2, 0, "kept")]


def test_rows_of_a_later_shard():
    assert fate([[0, 4]], [[0.9, 0.8]], spans(different(6)), first_row=5) == [(5, 0, "kept"), (5, 4, "kept")]


def test_a_document_is_never_its_own_pair():
    with pytest.raises(AssertionError, match="its own neighbor"):
        fate([[1, 0]], [[0.9, 0.8]], spans(different(2)), first_row=0)


def test_nothing_above_alpha():
    documents, score = spans(different(2)), np.array([[0.1]], np.float32)
    found = apply_rules(
        np.array([[1]]), score, 0, documents=documents, fields=no_field_rules(2), rules=Pairs(alpha=0.5)
    )
    assert not found.kept.any() and np.isnan(found.shared).all()


def test_only_near_duplicates():
    """What the usual relation drops is what is kept, and the other way round; the cap counts what is left."""
    documents = spans([TEXT, TEXT[:39], TEXT[1:], *different(2)])
    ids, scores = [[1, 2, 3, 4]], [[0.95, 0.9, 0.85, 0.3]]
    usual = fate(ids, scores, documents)
    found = fate(ids, scores, documents, relation="near_duplicates")
    assert [name for *_, name in usual] == ["near_duplicate", "near_duplicate", "kept", "below_alpha"]
    assert [name for *_, name in found] == ["kept", "kept", "no_near_duplicate", "below_alpha"]
    capped = fate(ids, scores, documents, relation="near_duplicates", max_targets_per_seed=1)
    assert [name for *_, name in capped] == ["kept", "cap", "no_near_duplicate", "below_alpha"]


def test_the_rules_of_a_relation():
    usual = ("below_alpha", "above_max_similarity", "short_target", "near_duplicate", "cap")
    assert rules_of(Pairs()) == rules_of(Pairs(relation="random")) == usual
    copies = rules_of(Pairs(relation="near_duplicates"))
    assert copies == tuple("no_near_duplicate" if rule == "near_duplicate" else rule for rule in usual)
    joint = {"max_seeds_per_target": 1, "collapse_above": 0.5, "directions": "one"}
    every = rules_of(Pairs(max_target_tokens=9, different_fields=["site"], **joint))
    assert {*every, "no_near_duplicate"} == set(RULES)
