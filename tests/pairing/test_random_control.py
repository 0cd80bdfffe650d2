from __future__ import annotations

import numpy as np

from megatron_sbp.overlap.shared_shingles import TokenSpans
from megatron_sbp.pairing import random_control
from megatron_sbp.pairing.field_rules import FieldRules, no_field_rules
from megatron_sbp.recipe import Pairs


def spans(count: int, length: int = 30) -> TokenSpans:
    tokens = np.arange(count * length).astype(np.int32)
    return TokenSpans(tokens, np.arange(count, dtype=np.int64) * length, np.full(count, length, np.int64))


def draw_targets(seeds, counts, documents: TokenSpans, rules: Pairs, run_seed: int, fields: FieldRules | None = None):
    fields = fields or no_field_rules(len(documents))
    return random_control.draw_targets(
        seeds, counts, documents=documents, fields=fields, rules=rules, run_seed=run_seed
    )


def test_as_many_different_targets_as_wanted():
    seeds, counts = np.array([0, 3, 4, 19]), np.array([5, 1, 19, 7])
    drawn, targets = draw_targets(seeds, counts, spans(20), Pairs(), 1)
    assert drawn.tolist() == np.repeat(seeds, counts).tolist()
    for seed, count in zip(seeds, counts, strict=True):
        mine = targets[drawn == seed].tolist()
        assert len(set(mine)) == count and seed not in mine


def test_draws_follow_from_the_row_and_the_seed_alone():
    documents = spans(1000)
    seeds = np.arange(0, 1000, 7)
    drawn, targets = draw_targets(seeds, np.full(len(seeds), 3), documents, Pairs(), 5)
    alone = draw_targets(seeds[40:41], np.array([3]), documents, Pairs(), 5)[1]
    np.testing.assert_array_equal(targets[drawn == seeds[40]], alone)
    more = draw_targets(seeds[40:41], np.array([8]), documents, Pairs(), 5)[1]
    np.testing.assert_array_equal(more[:3], alone)
    assert (targets != draw_targets(seeds, np.full(len(seeds), 3), documents, Pairs(), 6)[1]).mean() > 0.9


def test_uniform():
    """Chi-square over 10 cells of equal size: 99.9 % of uniform draws stay below 27.9 (9 degrees of freedom)."""
    seeds = np.arange(2000)
    _, targets = draw_targets(seeds, np.full(2000, 10), spans(2000), Pairs(), 1)
    counts = np.bincount(targets // 200, minlength=10)
    assert ((counts - 2000) ** 2 / 2000).sum() < 27.9


def test_near_duplicates_of_the_seed_and_documents_of_a_wrong_length_are_not_drawn():
    documents = spans(40)
    documents.tokens[30 * 10 : 30 * 11] = documents.tokens[:30]  # document 10 is a copy of document 0
    documents.lengths[20:25], documents.lengths[25:] = 5, 31
    rules = Pairs(min_target_tokens=6, max_target_tokens=30)
    _, targets = draw_targets(np.array([0]), np.array([18]), documents, rules, 1)
    assert set(targets.tolist()) == set(range(1, 20)) - {10}


def test_targets_whose_fields_may_be_paired():
    """Ten documents: a language of two, 0 is missing; and a site of five."""
    values = np.array([[1, 1, 1, 1, 1, 2, 2, 2, 2, 0], [1, 2, 3, 4, 5, 1, 2, 3, 4, 5]], np.uint64)
    fields = FieldRules(values, np.array([True, False]))
    seeds, counts = np.array([0, 6, 9]), np.array([9, 9, 9])
    drawn, targets = draw_targets(seeds, counts, spans(10), Pairs(), 1, fields)
    assert set(targets[drawn == 0].tolist()) == {1, 2, 3, 4} and set(targets[drawn == 6].tolist()) == {5, 7, 8}
    assert not (drawn == 9).any()
    drawn, targets = draw_targets(seeds, counts, spans(10), Pairs(), 1, FieldRules(values[1:], np.array([False])))
    assert set(targets[drawn == 6].tolist()) == set(range(10)) - {1, 6}


def test_fewer_where_there_are_no_more():
    drawn, targets = draw_targets(np.array([1, 2]), np.array([5, 2]), spans(3), Pairs(), 1)
    assert drawn.tolist() == [1, 1, 2, 2]
    assert set(targets[:2].tolist()) == {0, 2} and set(targets[2:].tolist()) == {0, 1}
