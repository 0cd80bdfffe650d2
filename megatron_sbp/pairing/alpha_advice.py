"""Recommends a first alpha for a new corpus and embedder."""

from __future__ import annotations

import numpy as np

from megatron_sbp.base.untyped import JsonObject

CHANCE = 0.01
"""Share of random pairs of documents whose similarity exceeds the chance level."""

COVERAGE = 0.5
"""Share of documents that should have a pair: the synthesizer is applied to every document, so it has to be tuned on
most of them rather than only on those with a close neighbor. Chosen here; the paper gives no value."""

_WINDOW = 0.05
"""Smoothing width of densities in similarity: wide enough to average out random fluctuations."""
_DEPTH = 4
"""A gap is at most 1 / _DEPTH as dense as both of its sides."""
_LEAST_COVERAGE = 0.25
"""Minimum share of documents with a pair above a gap; if fewer have one, the upper group consists of near-copies."""


def chance_level(chance: np.ndarray) -> float:
    """The similarity exceeded by 1 % of random pairs: below it, similarity does not indicate relatedness.

    Args:
        chance: similarities of random pairs of documents, floating point [pairs].
    """
    return float(np.quantile(chance, 1 - CHANCE))


def advise(alphas: np.ndarray, scores: np.ndarray, coverage: np.ndarray, level: float) -> JsonObject:
    """Recommends an alpha.

    Two rules, the first that applies: in the middle of a gap, where similarities fall into two groups with few pairs
    between them, and a quarter of the documents have a pair in the upper one; otherwise the largest alpha at which
    half of the documents have a pair, as long as that is above the chance level.

    Args:
        alphas: ascending, float64 [alphas].
        scores: similarities of the candidates that pass the other rules, floating point [pairs].
        coverage: share of documents that have a pair above each alpha, float64 [alphas].
        level: see `chance_level`.

    Returns:
        alpha (None without a recommendation), rule (gap, coverage, none), and coverage: the share of documents that
        have a pair above it.
    """
    gap = _gap(alphas, scores, (alphas >= level) & (coverage >= _LEAST_COVERAGE))
    if gap is not None:
        place = int(np.flatnonzero(np.isclose(alphas, gap))[0])
        return {"alpha": gap, "rule": "gap", "coverage": float(coverage[place])}
    enough = np.flatnonzero((coverage >= COVERAGE) & (alphas >= level))
    if enough.size:
        place = int(enough[-1])
        return {"alpha": float(alphas[place]), "rule": "coverage", "coverage": float(coverage[place])}
    return {"alpha": None, "rule": "none", "coverage": None}


def _gap(alphas: np.ndarray, scores: np.ndarray, allowed: np.ndarray) -> float | None:
    """The middle of the widest allowed gap with few pairs between two groups of many."""
    ordered = np.sort(scores)
    half = _WINDOW / 2
    density = np.searchsorted(ordered, alphas + half) - np.searchsorted(ordered, alphas - half)
    highest_above = np.maximum.accumulate(density[::-1])[::-1]
    highest_below = np.maximum.accumulate(density)
    sides = np.minimum(highest_above, highest_below)
    low = (density * _DEPTH <= sides) & (sides > 0) & allowed
    if not low.any():
        return None
    edges = np.flatnonzero(np.diff(np.concatenate([[False], low, [False]]).astype(np.int8)))
    begins, ends = edges[::2], edges[1::2] - 1
    widest = int(np.argmax(ends - begins))
    return float(alphas[(begins[widest] + ends[widest]) // 2])
