"""Standard errors, with numpy alone."""

from __future__ import annotations

import math

import numpy as np


def ratio_stderr(sums: np.ndarray, counts: np.ndarray) -> float | None:
    """Standard error of sum(sums) / sum(counts) over units drawn at random; None with fewer than two.

    The usual estimator for a ratio (Cochran, Sampling Techniques, chapter 2); with equal counts it is the standard
    deviation of the means over the square root of their number.

    Args:
        sums: float64 [units], nats of each sequence.
        counts: [units], tokens of each sequence; need not be integers nor positive one by one.
    """
    n, whole = len(sums), float(np.sum(counts))
    if n < 2 or whole == 0:
        return None
    residuals = sums - float(np.sum(sums)) / whole * counts
    return math.sqrt(n / (n - 1) * float(residuals @ residuals)) / abs(whole)


def mean_stderr(values: np.ndarray) -> float | None:
    """Standard error of a mean: float64 [n]; None with fewer than two values."""
    return ratio_stderr(np.asarray(values, np.float64), np.ones(len(values)))


def grouped_stderr(values: np.ndarray, size: int) -> float | None:
    """Standard error of a mean over values that depend on each other within groups: the error over the groups' means.

    Args:
        values: float64 [groups * size], group by group.
        size: values in a group.
    """
    return mean_stderr(np.asarray(values, np.float64).reshape(-1, size).mean(axis=1))
