"""Targets of other pairs: as often as they were mined, in the same band of similarity, and never related."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from megatron_sbp.pairing.shuffled_control import BAND, deal_targets


@pytest.fixture
def mined():
    """400 seed documents with three of 1,000 targets each, a tenth of all pairs with the same target, the hub 7."""
    random = np.random.default_rng(0)
    seeds = np.repeat(np.arange(1000, 1400), 3)
    targets = np.concatenate([np.sort(random.choice(1000, 3, replace=False)) for _ in range(400)])
    targets[::10] = 7
    scores = random.uniform(0.7, 0.95, len(seeds)).astype(np.float32)
    return seeds, targets, scores


def everything(seeds: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return np.ones(len(seeds), bool)


def test_every_target_comes_as_often_as_it_was_mined_and_never_with_its_seed(mined):
    seeds, targets, _ = mined
    dealt = deal_targets(*mined, allowed=everything, run_seed=1)
    assert (dealt >= 0).mean() > 0.99
    related = set(zip(seeds.tolist(), targets.tolist(), strict=True))
    pairs = [(seed, target) for seed, target in zip(seeds.tolist(), dealt.tolist(), strict=True) if target >= 0]
    assert not related.intersection(pairs) and len(set(pairs)) == len(pairs)
    left_out = Counter(targets.tolist()) - Counter(dealt[dealt >= 0].tolist())
    assert left_out.total() == (dealt < 0).sum() and not Counter(dealt[dealt >= 0].tolist()) - Counter(targets.tolist())
    assert Counter(dealt.tolist())[7] > 100  # the hub stays one


def test_targets_stay_in_their_band(mined):
    _, targets, scores = mined
    dealt = deal_targets(*mined, allowed=everything, run_seed=1)
    bands = np.floor(scores / BAND)
    for band in np.unique(bands):
        here = bands == band
        assert not Counter(dealt[here & (dealt >= 0)].tolist()) - Counter(targets[here].tolist())


def test_what_is_not_allowed_is_dealt_to_nobody(mined):
    seeds = mined[0]

    def allowed(some: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        return some % 3 != theirs % 3

    dealt = deal_targets(*mined, allowed=allowed, run_seed=1)
    placed = dealt >= 0
    assert placed.mean() > 0.95 and (seeds[placed] % 3 != dealt[placed] % 3).all()


def test_pairs_are_dealt_among_those_that_are_alike(mined):
    seeds, targets, scores = mined
    language = (targets % 7).astype(np.uint64)  # of both documents of a mined pair
    dealt = deal_targets(seeds, targets, scores, allowed=everything, run_seed=1, alike=language[None])
    placed = dealt >= 0
    assert placed.mean() > 0.95 and (dealt[placed] % 7 == language[placed]).all()


def test_a_document_is_not_its_own_target():
    seeds, targets = np.arange(6), np.array([1, 0, 3, 2, 5, 4])
    for run_seed in range(20):
        dealt = deal_targets(seeds, targets, np.full(6, 0.8, np.float32), allowed=everything, run_seed=run_seed)
        assert not (dealt == seeds).any() and not (dealt == targets).any()


def test_the_deal_follows_from_the_seed(mined):
    first = deal_targets(*mined, allowed=everything, run_seed=1)
    np.testing.assert_array_equal(first, deal_targets(*mined, allowed=everything, run_seed=1))
    assert (first != deal_targets(*mined, allowed=everything, run_seed=2)).mean() > 0.8


def test_one_pair_has_nobody_to_deal_with():
    one = np.array([3]), np.array([5]), np.array([0.9], np.float32)
    assert deal_targets(*one, allowed=everything, run_seed=1).tolist() == [-1]
    nothing = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    assert deal_targets(*nothing, allowed=everything, run_seed=1).shape == (0,)
