"""Bands of similarity, each with example pairs for a human reader."""

from __future__ import annotations

import numpy as np

BAND = 0.05
"""Width of a band."""


def bands_of(scores: np.ndarray) -> np.ndarray:
    """Band number of each score, float32 [n]: int64 [n], 0 for scores from 0 to `BAND`.

    Equal documents have a cosine of 1, or slightly more by rounding: they are in the last band, below 1.
    """
    return np.minimum(np.floor(scores / np.float32(BAND) + 1e-4), round(1 / BAND) - 1).astype(np.int64)


def limits(band: int) -> dict[str, float]:
    """`from` and `to` of a band."""
    return {"from": round(band * BAND, 2), "to": round((band + 1) * BAND, 2)}
