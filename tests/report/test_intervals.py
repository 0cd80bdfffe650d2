"""Intervals hold what they say: tried on made-up gains whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.report.intervals import crossed_ratio, mean_over_replicates, stratified_ratio


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
