"""Intervals of a mean over test units and replicates of a training run, both of which are samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from megatron_sbp.evaluation.confidence import share_interval
from megatron_sbp.evaluation.statistics import ratio_stderr

LEVEL = 0.95
SPREAD = 1e-9
"""A standard error of a rate below this is the rounding error of equal numbers."""


@dataclass(frozen=True)
class Estimate:
    """A value with its uncertainty."""

    value: float
    stderr: float | None
    """Standard error over test units and replicates; None where there are fewer than two of both, or no spread."""
    low: float | None
    high: float | None
    """Ends of the 95 % interval."""

    def uncertainty(self) -> dict[str, float | None]:
        """stderr, low and high, as results.json has them beside the value."""
        return {"stderr": self.stderr, "low": self.low, "high": self.high}


def without_spread(value: float, units: int, ends: tuple[float, float]) -> tuple[float, float]:
    """Exact interval of a mean over units that all have the same value, which leaves no spread to compute one from.

    The data then tell how rare another value is: none of `units` units had one, so at most a share u has it (Clopper
    and Pearson, for 0 of `units`), and it could be as far away as the bounds allow. The mean is of units of one size.

    Args:
        value: that all have.
        units: independent ones, such as groups of questions.
        ends: the lowest and the highest value that a unit can have: 0 and 1 of a rate, -1 and 1 of a difference of two.
    """
    interval = share_interval(0, units)
    assert interval is not None, "there are units"
    return value - interval[1] * (value - ends[0]), value + interval[1] * (ends[1] - value)


def rate_interval(value: float | None, stderr: float | None, units: int) -> tuple[float, float] | None:
    """95 % interval of a rate: Student's over its units, and `without_spread` where these all have the same value.

    Args:
        value: between 0 and 1.
        stderr: over the units.
        units: independent ones, such as groups of questions.

    Returns:
        None where there is no standard error.
    """
    if value is None or stderr is None:
        return None
    if stderr < SPREAD:
        return without_spread(value, units, (0.0, 1.0))
    reach = float(student.ppf(0.5 + LEVEL / 2, units - 1)) * stderr
    return max(0.0, value - reach), min(1.0, value + reach)


def crossed_ratio(sums: np.ndarray, counts: np.ndarray, ends: tuple[float, float] | None = None) -> Estimate:
    """sum(sums) / sum(counts), where units and replicates are both drawn at random.

    The variance is that over units, of the means over replicates, plus that over replicates, both by linearization
    of the ratio (Cochran, Sampling Techniques, chapter 2). The noise that belongs to a unit in a replicate is in both,
    so the interval is somewhat too wide. Its quantile is Student's, with the degrees of freedom of Welch and
    Satterthwaite. With one replicate the interval covers only the noise of the test units.

    Args:
        sums: float64 [replicates, units], such as nats gained in each sequence.
        counts: float64 [replicates, units], such as tokens; need not be positive one by one.
        ends: the lowest and the highest value that a unit can have, for `without_spread`; None where there are none.
    """
    replicates, units = sums.shape
    value = float(sums.sum() / counts.sum())
    parts = []
    over_units = ratio_stderr(sums.mean(axis=0), counts.mean(axis=0))
    if over_units is not None:
        parts.append((over_units**2, units - 1))
    if replicates > 1:
        residuals = (sums.sum(axis=1) - value * counts.sum(axis=1)) / counts.sum(axis=1).mean()
        parts.append((float(residuals @ residuals) / (replicates * (replicates - 1)), replicates - 1))
    return _estimate(value, parts, units, ends)


def stratified_ratio(
    strata: Sequence[tuple[np.ndarray, np.ndarray]], ends: tuple[float, float] | None = None
) -> Estimate:
    """Sum over strata of the mean of sums / the same of counts: strata, such as benchmark tasks, weigh the same,
    however many units they have.

    The strata are given, not drawn, so differences between them are not noise; else as `crossed_ratio`, which it is
    with one stratum.

    Args:
        strata: of each, sums and counts: float64 [replicates, units] both, with as many replicates in all of them.
        ends: as for `crossed_ratio`.
    """
    sums, counts = ([pair[kind].mean(axis=1) for pair in strata] for kind in (0, 1))  # [strata][replicates]
    by_replicate, weights = np.sum(sums, axis=0), np.sum(counts, axis=0)
    value, weight = float(by_replicate.sum() / weights.sum()), float(weights.mean())
    parts = []
    if all(found.shape[1] > 1 for found, _ in strata):
        for found, count in strata:
            residuals = found.mean(axis=0) - value * count.mean(axis=0)
            parts.append((float(residuals.var(ddof=1)) / len(residuals) / weight**2, len(residuals) - 1))
    replicates = len(by_replicate)
    if replicates > 1:
        residuals = (by_replicate - value * weights) / weight
        parts.append((float(residuals @ residuals) / (replicates * (replicates - 1)), replicates - 1))
    # If all strata had as few units as the smallest, the same share of other values in each would be the bound.
    return _estimate(value, parts, len(strata) * min(found.shape[1] for found, _ in strata), ends)


def _estimate(
    value: float, parts: Sequence[tuple[float, int]], units: int, ends: tuple[float, float] | None
) -> Estimate:
    """A value with the parts of its variance, each with its degrees of freedom."""
    variance = sum(part for part, _ in parts)
    if parts and ends is not None and math.sqrt(variance) < SPREAD:
        return Estimate(value, None, *without_spread(value, units, ends))
    if not parts or variance == 0:
        return Estimate(value, 0.0 if parts else None, None, None)
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    stderr = math.sqrt(variance)
    reach = float(student.ppf(0.5 + LEVEL / 2, freedom)) * stderr
    return Estimate(value, stderr, value - reach, value + reach)


def mean_over_replicates(values: list[float]) -> Estimate:
    """Mean of one figure over replicates, with the standard error over them alone."""
    found = np.array(values, np.float64)
    if len(found) < 2:
        return Estimate(float(found.mean()), None, None, None)
    stderr = float(found.std(ddof=1) / math.sqrt(len(found)))
    if stderr < SPREAD:  # a rate of 0 or 1 in all of them: an interval without width would claim too much
        return Estimate(float(found.mean()), stderr, None, None)
    reach = float(student.ppf(0.5 + LEVEL / 2, len(found) - 1)) * stderr
    mean = float(found.mean())
    return Estimate(mean, stderr, mean - reach, mean + reach)
