"""Standard errors against what they estimate: the spread over many samples."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.evaluation.statistics import grouped_stderr, mean_stderr, ratio_stderr


def test_the_error_of_a_mean_is_the_textbooks():
    values = np.array([1.0, 2.0, 4.0, 7.0])
    assert mean_stderr(values) == pytest.approx(values.std(ddof=1) / 2)


def test_the_error_of_a_ratio_is_its_spread():
    """Losses of sequences of unequal length: the estimate is the standard deviation over samples, within 10 %."""
    random = np.random.default_rng(7)
    ratios, errors = [], []
    for _ in range(800):
        counts = random.integers(1, 40, 60).astype(float)
        sums = counts * random.normal(3.0, 0.5, 60)
        ratios.append(sums.sum() / counts.sum())
        errors.append(ratio_stderr(sums, counts))
    assert np.mean(errors) == pytest.approx(np.std(ratios), rel=0.1)


def test_values_of_a_group_do_not_count_as_many():
    """Four equal answers a group: the error is that of the groups, twice that of independent answers."""
    groups = np.random.default_rng(3).normal(0, 1, 100)
    values = np.repeat(groups, 4)
    assert grouped_stderr(values, 4) == pytest.approx(mean_stderr(groups))
    assert grouped_stderr(values, 4) == pytest.approx(2 * mean_stderr(values), rel=0.02)


def test_too_few_have_no_error():
    assert mean_stderr(np.array([1.0])) is None
    assert ratio_stderr(np.array([1.0, 2.0]), np.array([1.0, -1.0])) is None
