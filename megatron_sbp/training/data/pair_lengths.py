"""Number of positions of a pair in a packed sequence."""

from __future__ import annotations

import numpy as np


def pair_lengths(sequence_lengths: np.ndarray) -> np.ndarray:
    """Positions that every pair takes in a sequence; int32 [pairs].

    Seed, separator, and target, minus one: the last token of a pair is only ever a label.

    Args:
        sequence_lengths: int32, of the IndexedDataset: seed, target, seed, target, ...
    """
    return sequence_lengths[0::2] + sequence_lengths[1::2]
