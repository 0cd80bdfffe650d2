"""Near-duplicates among many texts: MinHash signatures, and bands of them as keys (locality-sensitive hashing)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numba
import numpy as np

_PRIME = np.uint64((1 << 61) - 1)


def signatures(texts: Iterable[str], permutations: int = 128, words: int = 5) -> np.ndarray:
    """MinHash signatures of the texts' word shingles.

    The share of equal places of two signatures estimates the Jaccard similarity of the two sets of shingles, with a
    standard error of at most 0.5 / sqrt(permutations) (Broder 1997).

    Args:
        texts: words are what white space separates, in lower case.
        permutations: hash functions, that is places in a signature.
        words: words in a shingle; a shorter text is one shingle.

    Returns:
        uint32 [texts, permutations]; the same on every machine.
    """
    rng = np.random.default_rng(20250915)
    factors = rng.integers(1, 1 << 31, permutations).astype(np.uint64)
    offsets = rng.integers(0, 1 << 31, permutations).astype(np.uint64)
    rows = [_minima(_shingles(text, words), factors, offsets) for text in texts]
    return np.stack(rows) if rows else np.empty((0, permutations), np.uint32)


def _shingles(text: str, words: int) -> np.ndarray:
    """32-bit hashes of the distinct word shingles: uint64 [n]."""
    found = text.lower().split()
    count = max(1, len(found) - words + 1)
    distinct = {" ".join(found[place : place + words]) for place in range(count)}
    digests = (hashlib.blake2b(shingle.encode(), digest_size=4).digest() for shingle in sorted(distinct))
    return np.frombuffer(b"".join(digests), "<u4").astype(np.uint64)


@numba.njit(cache=True)
def _minima(hashes: np.ndarray, factors: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    result = np.empty(len(factors), np.uint32)
    for place in range(len(factors)):
        least = np.uint64(0xFFFFFFFF)
        for value in hashes:
            # The product stays below 2^63; the upper half of the sum is the permuted hash.
            permuted = ((value * factors[place] + offsets[place]) % _PRIME) & np.uint64(0xFFFFFFFF)
            least = min(least, permuted)
        result[place] = least
    return result


def near_duplicates(signed: np.ndarray, threshold: float, band: int = 4) -> np.ndarray:
    """Which texts are near-duplicates of an earlier one.

    Texts that agree in a whole band of the signature are candidates; a candidate counts when its signature agrees
    with the earlier one's in `threshold` of all places or more. With bands of 4 of 128 places a pair at Jaccard 0.7 is
    missed with probability (1 - 0.7^4)^32 = 0.0001.

    Args:
        signed: what `signatures` gives, in the order in which texts count as earlier.
        threshold: Jaccard similarity.
        band: places in a band.

    Returns:
        bool [texts].
    """
    result = np.zeros(len(signed), bool)
    buckets: dict[bytes, list[int]] = {}
    for number, row in enumerate(signed):
        keys = [start.to_bytes(2, "little") + row[start : start + band].tobytes() for start in range(0, len(row), band)]
        candidates = sorted({other for key in keys for other in buckets.get(key, ())})
        if candidates:
            result[number] = bool(((signed[candidates] == row).mean(axis=1) >= threshold).any())
        for key in keys:
            # Those that are dropped lead to the text that they repeat, so that they need no place of their own.
            if not result[number]:
                buckets.setdefault(key, []).append(number)
    return result
