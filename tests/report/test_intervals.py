"""Intervals hold what they say: tried on made-up gains whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.report.intervals import (
    crossed_ratio,
    mean_over_replicates,
    rate_interval,
    stratified_ratio,
    without_spread,
)


@pytest.mark.parametrize(("replicates", "spread"), [(1, 0.0), (3, 0.0), (3, 0.2), (5, 0.2)])
def test_coverage(replicates, spread):
    """The true gain is in the 95 % interval in at least 93 of 100 cases, and not always far inside."""
    random = np.random.default_rng(3)
    inside, widths, truth, cases = 0, [], 0.3, 600
    for _ in range(cases):
        units, runs = random.normal(0, 1.0, 80), random.normal(0, spread, (replicates, 1))
        counts = np.broadcast_to(random.integers(5, 15, 80).astype(float), (replicates, 80))
        gains = (truth + units + runs + random.normal(0, 0.3, (replicates, 80))) * counts
        found = crossed_ratio(gains, counts)
        inside += found.low <= truth <= found.high
        widths.append(found.high - found.low)
    assert inside / cases >= 0.93
    assert np.median(widths) < (0.7 if spread == 0 else 2.0)


def test_one_unit_and_one_replicate_have_no_interval():
    found = crossed_ratio(np.array([[2.0]]), np.array([[4.0]]))
    assert (found.value, found.stderr, found.low, found.high) == (0.5, None, None, None)


def test_mean_over_replicates():
    found = mean_over_replicates([1.0, 2.0, 3.0])
    assert (found.value, found.stderr) == pytest.approx((2.0, 1 / np.sqrt(3)))
    assert found.high - 2.0 == pytest.approx(4.30265 / np.sqrt(3), rel=1e-4)
    assert mean_over_replicates([1.5]).stderr is None


@pytest.mark.parametrize("replicates", [1, 3])
def test_one_stratum_is_no_stratum(replicates):
    random = np.random.default_rng(5)
    pair = random.normal(1, 1, (replicates, 40)), random.integers(3, 9, (replicates, 40)).astype(float)
    one, other = stratified_ratio([pair]), crossed_ratio(*pair)
    assert (one.value, one.stderr, one.low, one.high) == pytest.approx(
        (other.value, other.stderr, other.low, other.high)
    )


@pytest.mark.parametrize(("replicates", "spread"), [(1, 0.0), (5, 0.2)])
def test_coverage_over_strata(replicates, spread):
    """Tasks of several sizes, unlike each other: their mean gain is in the interval, which is not wide with them."""
    random = np.random.default_rng(7)
    gains, sizes = (0.1, 0.5, 0.9), (40, 120, 400)
    inside, widths, cases = 0, [], 600
    for _ in range(cases):
        runs = random.normal(0, spread, (replicates, 1))
        strata = [
            (
                gain + random.normal(0, 1, size) + runs + random.normal(0, 0.2, (replicates, size)),
                np.ones((replicates, size)),
            )
            for gain, size in zip(gains, sizes, strict=True)
        ]
        found = stratified_ratio(strata)
        inside += found.low <= 0.5 <= found.high
        widths.append(found.high - found.low)
    assert inside / cases >= 0.93 and np.median(widths) < (0.32 if spread == 0 else 1.2)


def test_a_stratum_of_one_unit_has_no_noise_to_see():
    ones = np.ones((1, 1))
    assert stratified_ratio([(2 * ones, ones), (np.ones((1, 9)), np.ones((1, 9)))]).stderr is None
    assert stratified_ratio([(2 * ones, ones), (np.ones((1, 9)), np.ones((1, 9)))]).value == 1.5


@pytest.mark.parametrize("truth", [0.02, 0.1, 0.3])
def test_groups_that_are_all_alike_leave_an_interval_that_holds_the_truth(truth):
    """Where all of five groups have nothing right, the interval of the rate is that of 0 in 5 (Clopper and Pearson)."""
    random = np.random.default_rng(11)
    missed, cases = 0, 4000
    for _ in range(cases):
        groups = np.where(random.random(5) < truth, random.random(5), 0.0)  # half of a group's questions on average
        if not groups.any():
            low, high = rate_interval(0.0, 0.0, 5)
            missed += not low <= truth / 2 <= high
    assert (low, high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 5)))
    assert missed / cases <= 0.025
    assert rate_interval(1.0, 0.0, 5) == (pytest.approx(0.025 ** (1 / 5)), 1.0)


def test_a_rate_with_spread_has_students_interval_within_its_bounds():
    assert rate_interval(0.5, 0.1, 6) == pytest.approx((0.5 - 0.257058, 0.5 + 0.257058), abs=1e-5)
    assert rate_interval(0.07, 0.07, 5)[0] == 0.0
    assert rate_interval(None, None, 0) is None and rate_interval(0.5, None, 1) is None


@pytest.mark.parametrize("replicates", [1, 3])
def test_a_difference_of_zero_in_every_group_has_an_interval(replicates):
    counts = np.full((replicates, 31), 4.0)
    found = crossed_ratio(np.zeros((replicates, 31)), counts, (-1.0, 1.0))
    end = 1 - 0.025 ** (1 / 31)
    assert (found.value, found.stderr, found.low, found.high) == (0.0, None, pytest.approx(-end), pytest.approx(end))
    # Thirds are not exact in floats: the same gain in every group is no spread.
    alike = crossed_ratio(np.full((1, 7), 1 / 3), np.ones((1, 7)), (-1.0, 1.0))
    assert (alike.low, alike.high) == pytest.approx(without_spread(1 / 3, 7, (-1.0, 1.0)))
    assert alike.low < 1 / 3 < alike.high < 1
    unbounded = crossed_ratio(np.zeros((replicates, 31)), counts)
    assert unbounded.low is None and unbounded.high is None


def test_strata_without_spread_are_as_certain_as_all_of_their_units():
    strata = [(np.zeros((1, 10)), np.ones((1, 10))), (np.zeros((1, 40)), np.ones((1, 40)))]
    assert stratified_ratio(strata, (-1.0, 1.0)).high == pytest.approx(1 - 0.025 ** (1 / 20))


def test_replicates_that_agree_have_no_interval_without_width():
    assert mean_over_replicates([0.0, 0.0, 0.0]).low is None
