"""Intervals hold the truth as often as they say, and are the same every time."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.evaluation.confidence import (
    mean_interval,
    pair_share,
    part,
    quantile_interval,
    ratio,
    ratio_intervals,
    share,
)


def test_a_share_has_the_exact_interval():
    # Clopper and Pearson; the ends of 0 of n and n of n are known in closed form.
    found = share([False] * 50)
    assert (found["value"], found["low"]) == (0.0, 0.0)
    assert found["high"] == pytest.approx(1 - 0.025 ** (1 / 50))
    found = share([True] * 50)
    assert (found["value"], found["high"]) == (1.0, 1.0)
    assert found["low"] == pytest.approx(0.025 ** (1 / 50))
    assert share([]) == {"value": None, "low": None, "high": None}


def test_intervals_of_ratios_and_means_hold_the_truth_as_often_as_they_say():
    random = np.random.default_rng(4)
    held = {"ratio": 0, "mean": 0, "median": 0}
    for _ in range(200):
        counts = random.integers(5, 40, 80)
        rates = random.beta(2, 6, 80)  # mean 0.25, independent of the counts
        found = ratio(random.binomial(counts, rates), counts, seed=1)
        held["ratio"] += found["low"] <= 0.25 <= found["high"]
        low, high = mean_interval(rates)
        held["mean"] += low <= 0.25 <= high
        low, high = quantile_interval(np.sort(random.exponential(1, 80)), 0.5)
        held["median"] += low <= np.log(2) <= high
    # 95 % of 200 with four standard errors of the binomial, and the bootstrap's known shortfall.
    assert all(0.87 * 200 <= times <= 200 for times in held.values()), held


def test_the_bootstrap_is_the_same_every_time_and_takes_many_figures_at_once():
    random = np.random.default_rng(5)
    sums, counts = random.integers(0, 9, (40, 3)), random.integers(9, 12, (40, 3))
    counts[:, 2] = 0
    low, high = ratio_intervals(sums, counts, 7)
    again = ratio_intervals(sums, counts, 7)
    np.testing.assert_array_equal(low, again[0])
    assert ratio_intervals(sums, counts, 8)[0][0] != low[0]
    one = ratio(sums[:, 0], counts[:, 0], 7)
    assert (one["low"], one["high"]) == (low[0], high[0]) and low[0] < one["value"] < high[0]
    assert np.isnan(low[2])  # of no counts
    assert ratio(sums[:, 2], counts[:, 2], 7) == {"value": None, "low": None, "high": None}
    assert ratio(np.array([1.0]), np.array([2.0]), 7) == {"value": 0.5, "low": None, "high": None}


def test_a_part_that_no_document_has_is_not_known_exactly():
    counts = np.array([10] * 40 + [0])
    none, all_of_it = part(np.zeros(41), counts, 1), part(counts.astype(float), counts, 1)
    assert (none["value"], none["low"]) == (0.0, 0.0) and none["high"] == pytest.approx(1 - 0.025 ** (1 / 40))
    assert (all_of_it["value"], all_of_it["high"]) == (1.0, 1.0) and all_of_it["low"] == pytest.approx(
        0.025 ** (1 / 40)
    )
    some = np.arange(41.0) % 3
    assert part(some, counts, 1) == ratio(some, counts, 1)


@pytest.mark.parametrize(
    ("groups", "each"),
    [(1, 0.05), (1, 0.2), (1000, 0.001), (20, 0.03), (0, 0.0)],
    ids=["a rare group", "a large group", "many rare ones", "several", "no duplicates"],
)
@pytest.mark.parametrize(("documents", "pairs"), [(60, None), (400, 2000)], ids=["all pairs", "some pairs"])
def test_the_interval_of_a_share_of_pairs_holds_the_truth_as_often_as_it_says(groups, each, documents, pairs):
    """Documents of a group are alike, and all others are unlike: two are alike with probability groups x each^2."""
    random, held, times = np.random.default_rng(6), 0, 150
    for _ in range(times):
        kinds = random.choice(groups + 1, documents, p=[*[each] * groups, 1 - groups * each])
        kinds = np.where(kinds < groups, kinds, groups + np.arange(documents))
        first, second = np.triu_indices(documents, 1)
        if pairs is not None:
            first = random.integers(0, documents, pairs)
            second = (first + random.integers(1, documents, pairs)) % documents
        found = pair_share(kinds[first] == kinds[second], first, second, documents)
        assert found["low"] <= found["value"] <= found["high"]
        held += found["low"] <= groups * each**2 <= found["high"]
    assert held >= 0.9 * times, held  # 95 % of 150 less three standard errors


def test_pairs_that_have_documents_in_common_tell_less():
    """45 pairs of 10 documents that are all alike, and 45 pairs of 90 documents, each like one other."""
    first, second = np.triu_indices(400, 1)
    together = pair_share(second < 10, first, second, 400)
    apart = pair_share((first % 2 == 0) & (second == first + 1) & (first < 90), first, second, 400)
    assert together["value"] == apart["value"] == pytest.approx(45 / len(first))
    # Those apart are a Poisson count of 45.
    assert (apart["low"] * len(first), apart["high"] * len(first)) == (
        pytest.approx(32.8, abs=0.2),
        pytest.approx(60.2, abs=0.2),
    )
    assert together["low"] < 0.5 * apart["low"] and together["high"] > 1.5 * apart["high"]
    nothing = pair_share(np.zeros(0, bool), first[:0], second[:0], 1)
    assert nothing == {"value": None, "low": None, "high": None}
    every = pair_share(np.ones(len(first), bool), first, second, 400)
    assert every["value"] == every["high"] == 1.0
