"""Recall above a similarity, from what the audit of the neighbors has by hundredths."""

from __future__ import annotations

import numpy as np

EDGES = np.round(np.linspace(-1, 1, 201), 2)
"""Of the hundredths."""


def recall_above(by_similarity: dict[str, list[float]] | None, alpha: float | None) -> float | None:
    """Share of the neighbors above a similarity that was found, by whole hundredths from `alpha` on.

    Args:
        by_similarity: see `Recall.by_similarity`; None where nothing was measured.
        alpha: the similarity; None where it is not known.

    Returns:
        None where there are no such neighbors.
    """
    if by_similarity is None or alpha is None:
        return None
    above = np.array(by_similarity["edges"][:-1]) >= alpha - 1e-9
    neighbors = np.array(by_similarity["neighbors"])[above].sum()
    return float(np.array(by_similarity["found"])[above].sum() / neighbors) if neighbors else None
