"""How much two documents of a pair share, for many pairs at once."""

from __future__ import annotations

import numba
import numpy as np

from megatron_sbp.shingles import shingle_hashes


class ShingleTable:
    """The shingles of documents, ready for comparing pairs.

    Args:
        documents: tokens of every document, integers [n] each.
        length: tokens in a shingle.

    Memory: 8 bytes per distinct shingle of a document.
    """

    def __init__(self, documents, length: int):
        hashes = [shingle_hashes(tokens, length) for tokens in documents]
        self.ends = np.cumsum([0] + [len(part) for part in hashes])
        self.hashes = np.concatenate([np.empty(0, np.uint64), *hashes])

    def shared(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Share of the shorter document's shingles that stand in the other one.

        Args:
            first: int64 [pairs], document numbers; so is `second`.

        Returns:
            float64 [pairs].
        """
        return _shared(self.hashes, self.ends, first.astype(np.int64), second.astype(np.int64))


@numba.njit(cache=True)
def _shared(hashes: np.ndarray, ends: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    result = np.zeros(len(first), np.float64)
    for pair in range(len(first)):
        a, a_end = ends[first[pair]], ends[first[pair] + 1]
        b, b_end = ends[second[pair]], ends[second[pair] + 1]
        smaller = min(a_end - a, b_end - b)
        if smaller == 0:
            continue
        common = 0
        while a < a_end and b < b_end:
            if hashes[a] == hashes[b]:
                common += 1
                a += 1
                b += 1
            elif hashes[a] < hashes[b]:
                a += 1
            else:
                b += 1
        result[pair] = common / smaller
    return result
