"""95 % confidence intervals of the quality figures: an exact formula, Student's, or a bootstrap over documents.

| figure | interval |
|---|---|
| a share of documents (repetition, copying, re-tokenization) | exact: Clopper and Pearson (1934) |
| a share of pairs of documents (near-duplicates) | exact, for as many independent pairs as tell as much |
| a ratio of sums over documents (novel n-grams, loss, cosine) | percentile bootstrap over documents, 1,000 resamples |
| a part that is 0 or 1 in every document | exact, for the share of documents that have some of it |
| a mean over blocks or documents of their own figures (distinct-n, self-BLEU) | Student's |

The bootstrap is seeded: the same documents always give the same interval. The share of documents that repeat an earlier
one counts as if documents were independent of each other, which they are not quite.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
from scipy import stats

from megatron_sbp.base.random_streams import Stream
from megatron_sbp.base.untyped import JsonObject

LEVEL = 0.95
RESAMPLES = 1000
_AT_ONCE = 1 << 22
"""Weights of resamples held at once, which bounds memory to some 30 MB."""


def share_interval(found: int, documents: int) -> tuple[float, float] | None:
    """Exact interval of a share of independent documents; None without documents.

    Args:
        found: documents that have the property.
        documents: all of them.
    """
    if not documents:
        return None
    tail = (1 - LEVEL) / 2
    low = float(stats.beta.ppf(tail, found, documents - found + 1)) if found else 0.0
    high = float(stats.beta.ppf(1 - tail, found + 1, documents - found)) if found < documents else 1.0
    return low, high


def mean_interval(values: Sequence[float] | np.ndarray) -> tuple[float, float] | None:
    """Student's interval of a mean; None with fewer than two values."""
    found = np.asarray(values, np.float64)
    if len(found) < 2:
        return None
    reach = float(stats.t.ppf(0.5 + LEVEL / 2, len(found) - 1)) * float(found.std(ddof=1)) / math.sqrt(len(found))
    return float(found.mean()) - reach, float(found.mean()) + reach


def ratio_intervals(sums: np.ndarray, counts: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Percentile bootstrap over documents of sum(sums) / sum(counts); None with fewer than two documents.

    Args:
        sums: float [documents] or [documents, figures].
        counts: of the same shape; ones make it the interval of a mean.
        seed: the run's seed.

    Returns:
        Lower and upper ends, float64 without the axis of documents; NaN where a figure has no counts.
    """
    documents = len(sums)
    if documents < 2:
        return None
    random = np.random.default_rng([seed, Stream.QUALITY_BOOTSTRAP])
    step = max(1, _AT_ONCE // documents)
    parts = []
    for begin in range(0, RESAMPLES, step):
        times = random.multinomial(documents, np.full(documents, 1 / documents), min(step, RESAMPLES - begin))
        whole = times @ np.asarray(counts, np.float64)
        counted = times @ np.asarray(sums, np.float64)
        parts.append(np.divide(counted, whole, out=np.full(whole.shape, np.nan), where=whole != 0))
    tails = 100 * (1 - LEVEL) / 2
    drawn = np.concatenate(parts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of figures without counts
        low, high = np.nanpercentile(drawn, [tails, 100 - tails], axis=0)
    return low, high


def estimate(value: float | None, interval: tuple[float, float] | None) -> dict[str, float | None]:
    """`value`, `low` and `high`, as quality.json has them; None where nothing was measured."""
    low, high = interval if value is not None and interval is not None else (None, None)
    return {"value": value, "low": low, "high": high}


def ratio(sums: np.ndarray, counts: np.ndarray, seed: int) -> dict[str, float | None]:
    """sum(sums) / sum(counts) over documents with its bootstrap interval: float [documents] each."""
    whole = float(np.sum(counts))
    if not whole:
        return estimate(None, None)
    found = ratio_intervals(np.asarray(sums), np.asarray(counts), seed)
    return estimate(float(np.sum(sums)) / whole, None if found is None else (float(found[0]), float(found[1])))


def part(sums: np.ndarray, counts: np.ndarray, seed: int) -> dict[str, float | None]:
    """As `ratio`, for a part of a whole.

    Where no document has anything of it, or every document nothing else, resamples cannot differ: the open end of the
    interval is then the exact one for the share of documents that have some.
    """
    found = ratio(sums, counts, seed)
    documents, whole = int(np.sum(np.asarray(counts) > 0)), float(np.sum(counts))
    hits = float(np.sum(sums))
    if found["value"] is not None and hits in (0.0, whole):
        return estimate(found["value"], share_interval(documents if hits else 0, documents))
    return found


def share(found: Sequence[bool] | np.ndarray) -> dict[str, float | None]:
    """Share of documents with its exact interval: bool [documents]."""
    documents, hits = len(found), int(np.sum(found))
    return estimate(hits / documents if documents else None, share_interval(hits, documents))


def pair_share(found: np.ndarray, first: np.ndarray, second: np.ndarray, documents: int) -> dict[str, float | None]:
    """Share of pairs of documents, with an interval for pairs that depend on each other by their common documents.

    The share is a U-statistic (if pairs are drawn, an incomplete one). Its variance is estimated by the sum over pairs
    that have a document in common, the pair itself among them, of the products of their deviations (Fafchamps and
    Gubert 2007). Divided into the variance of independent pairs, it tells how many of these would tell as much, and the
    interval is the exact one for that number (Korn and Graubard 1998). Where few pairs are found, that variance is
    hardly known. So the upper end is at least that of the worst case, one group of documents that are all alike:
    (u / documents)^2, with u the upper end for a Poisson count of as many documents as the groups that were found have
    on average (one where none was found).

    Args:
        found: which pairs have the property: bool [pairs].
        first, second: numbers of the documents of each pair, below `documents`: int [pairs].
        documents: of which the pairs are.
    """
    pairs, hits = len(found), int(np.sum(found))
    if not pairs:
        return estimate(None, None)
    deviations = found - hits / pairs
    of_document = np.bincount(first, deviations, documents) + np.bincount(second, deviations, documents)
    alone = float(deviations @ deviations)
    together = float(of_document @ of_document) - alone
    effective = pairs * alone / together if together > alone > 0 else float(pairs)
    share_found, tail = hits / pairs, (1 - LEVEL) / 2
    there = share_found * effective
    low = float(stats.beta.ppf(tail, there, effective - there + 1)) if hits else 0.0
    high = float(stats.beta.ppf(1 - tail, there + 1, effective - there)) if hits < pairs else 1.0
    group = 1.0
    if hits:
        degrees = np.bincount(np.concatenate([first[found], second[found]]), minlength=documents)
        looked_at = min(1.0, pairs / (documents * (documents - 1) / 2))
        group = min(2 + float((degrees * (degrees - 1)).sum() / degrees.sum()) / looked_at, documents)
    worst = (float(stats.gamma.ppf(1 - tail, group + 1)) / documents) ** 2
    return estimate(share_found, (low, min(1.0, max(high, worst))))


def quantile_interval(ordered: np.ndarray, level: float) -> tuple[float, float] | None:
    """Interval of a quantile by order statistics, exact for every distribution; None without values.

    Args:
        ordered: values, ascending [n].
        level: of the quantile, between 0 and 1.
    """
    if not len(ordered):
        return None
    low = int(stats.binom.ppf((1 - LEVEL) / 2, len(ordered), level))
    high = int(stats.binom.ppf((1 + LEVEL) / 2, len(ordered), level)) + 1
    return float(ordered[max(low - 1, 0)]), float(ordered[min(high - 1, len(ordered) - 1)])


def pair(found: JsonObject) -> list[float] | None:
    """Ends of an `estimate`, for `intervals` beside figures that are plain numbers."""
    return None if found["low"] is None else [found["low"], found["high"]]
