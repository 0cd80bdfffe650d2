"""Near-duplicates among many texts: MinHash signatures, and bands of them as keys (locality-sensitive hashing).

The signatures are implemented here to keep them stable: verdicts of finished runs depend on them, and no library
guarantees its hash function across versions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import numba
import numpy as np

from megatron_sbp.base.compiling import CACHED
from megatron_sbp.overlap.shared_keys import Groups, shared_keys
from megatron_sbp.overlap.shingles import hash_at

PLACES, BAND = 128, 4
"""Length of a signature, and of a band of it."""

BANDS = PLACES // BAND

COMPARED = 256
"""Number of first texts with the same band that others are compared with."""

SIGNATURES_AT_ONCE = 1 << 21
"""Signatures in memory during comparison."""

_HASH_SEED = 20250915
"""Not the recipe's seed: the same texts have the same signatures in all runs."""

_PRIME = np.uint64((1 << 61) - 1)
_REMEMBERED_WORDS = 1_000_000


def signatures(texts: Iterable[str], permutations: int = PLACES, words: int = 5) -> np.ndarray:
    """MinHash signatures of the texts' word shingles.

    The share of equal places of two signatures estimates the Jaccard similarity of the two sets of shingles, with a
    standard error of at most 0.5 / sqrt(permutations) (Broder 1997).

    Args:
        texts: words are lowercased and separated by white space.
        permutations: number of hash functions, the length of a signature.
        words: words in a shingle; a shorter text is one shingle.

    Returns:
        uint32 [texts, permutations]; the same on every machine.
    """
    rng = np.random.default_rng(_HASH_SEED)
    factors = rng.integers(1, 1 << 31, permutations).astype(np.uint64)
    offsets = rng.integers(0, 1 << 31, permutations).astype(np.uint64)
    hashes = WordHashes()
    rows = [_minima(hashes.of(text), words, factors, offsets) for text in texts]
    return np.stack(rows) if rows else np.empty((0, permutations), np.uint32)


class WordHashes(dict[str, int]):
    """Cache of 64-bit hashes of words."""

    def __missing__(self, word: str) -> int:
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self[word] = value = int.from_bytes(digest, "little")
        return value

    def of(self, text: str) -> np.ndarray:
        """Hashes of a text's words in order: uint64 [words]."""
        if len(self) > _REMEMBERED_WORDS:
            self.clear()
        found = text.lower().split()
        return np.fromiter(map(self.__getitem__, found), np.uint64, len(found))


@numba.njit(cache=CACHED)
def _minima(hashes: np.ndarray, words: int, factors: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Minimum hash of the shingles under every permutation: uint32 [permutations].

    Args:
        hashes: of the words, uint64 [n].
        words: in a shingle.
        factors, offsets: below 2^31, uint64 [permutations].
    """
    result = np.full(len(factors), 0xFFFFFFFF, np.uint32)
    width = min(words, len(hashes))
    for begin in range(len(hashes) - width + 1 if width else 0):
        upper = hash_at(hashes, begin, width) >> np.uint64(32)
        for place in range(len(factors)):
            # Universal hashing (a x + b) mod 2^61 - 1; the product of 32 and 31 bits stays below 2^63. Shift and add
            # instead of a division, so that the compiler vectorizes the loop.
            product = upper * factors[place] + offsets[place]
            permuted = (product & _PRIME) + (product >> np.uint64(61))
            permuted = permuted - _PRIME if permuted >= _PRIME else permuted
            result[place] = min(result[place], np.uint32(permuted & np.uint64(0xFFFFFFFF)))
    return result


def band_keys(signed: np.ndarray) -> np.ndarray:
    """A hash of every band of every signature: uint32 [bands, texts]. Texts with equal bands have equal keys.

    Args:
        signed: what `signatures` gives.
    """
    return _band_keys(np.ascontiguousarray(signed, np.uint32), BAND)


def near_duplicates(signed: np.ndarray, threshold: float) -> np.ndarray:
    """Finds texts that are near-duplicates of an earlier one.

    Texts that agree in a whole band of the signature are candidates; a candidate counts if its signature agrees with
    the earlier one's in `threshold` of all places or more. With bands of 4 of 128 places a pair at Jaccard 0.7 is not a
    candidate with probability (1 - 0.7^4)^32 = 0.0002. If more than 256 texts share a band, only the first 256 are
    compared with the others.

    Args:
        signed: what `signatures` gives, in the order in which texts count as earlier.
        threshold: Jaccard similarity.

    Returns:
        bool [texts].
    """
    found = np.zeros(len(signed), bool)
    for keys in band_keys(signed):
        found[repeats_in_band([keys], signed.__getitem__, threshold)] = True
    return found


def repeats_in_band(
    keys: Sequence[np.ndarray], signatures_of: Callable[[np.ndarray], np.ndarray], threshold: float
) -> np.ndarray:
    """Rows of the near-duplicates of earlier texts that one band finds: int64, ascending.

    All bands together find the same texts as `near_duplicates`, in any order and number of processes.

    Args:
        keys: of one band, in parts: one row of `band_keys` each, in the order of the texts.
        signatures_of: gives the signatures of some rows, uint32 [rows, places].
        threshold: Jaccard similarity.

    Memory: about 40 bytes per text, at most 3 GB, and 1 GB of signatures.
    """
    found = [np.empty(0, np.int64)]
    for groups in shared_keys(keys):
        for rows, bounds in _pieces(groups):
            signed = np.ascontiguousarray(signatures_of(rows), np.uint32)
            needed = int(np.ceil(threshold * signed.shape[1] - 1e-9))
            found.append(rows[_repeats(signed, bounds, needed, COMPARED)])
    return np.unique(np.concatenate(found))


def _pieces(groups: Groups) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Splits groups into pieces with few signatures: rows, and the bounds of the groups in them.

    A group larger than a piece is split into several, each beginning with the group's first rows.
    """
    rows, bounds = groups.rows, groups.bounds
    first = 0
    while first < len(bounds) - 1:
        last = max(first + 1, int(np.searchsorted(bounds, bounds[first] + SIGNATURES_AT_ONCE, side="right")) - 1)
        begin, end = int(bounds[first]), int(bounds[last])
        if end - begin <= SIGNATURES_AT_ONCE:
            yield rows[begin:end], bounds[first : last + 1] - begin
        else:
            head = rows[begin : begin + COMPARED]
            for low in range(begin + COMPARED, end, SIGNATURES_AT_ONCE):
                piece = np.concatenate([head, rows[low : min(end, low + SIGNATURES_AT_ONCE)]])
                yield piece, np.array([0, len(piece)])
        first = last


@numba.njit(cache=CACHED)
def _band_keys(signed: np.ndarray, band: int) -> np.ndarray:
    texts, places = signed.shape
    keys = np.empty((places // band, texts), np.uint32)
    for text in range(texts):
        for number in range(places // band):
            value = np.uint64(number + 1) * np.uint64(0x9E3779B97F4A7C15)
            for place in range(number * band, (number + 1) * band):
                value = (value ^ np.uint64(signed[text, place])) * np.uint64(0xBF58476D1CE4E5B9)
                value ^= value >> np.uint64(29)
            keys[number, text] = np.uint32(value >> np.uint64(32))
    return keys


@numba.njit(cache=CACHED)
def _repeats(signed: np.ndarray, bounds: np.ndarray, needed: int, compared: int) -> np.ndarray:
    """Rows that agree in `needed` places with an earlier row among the first `compared` rows of their group."""
    found = np.zeros(len(signed), np.bool_)
    for group in range(len(bounds) - 1):
        begin, end = bounds[group], bounds[group + 1]
        for row in range(begin + 1, end):
            for other in range(begin, min(row, begin + compared)):
                equal = 0
                for place in range(signed.shape[1]):
                    equal += signed[row, place] == signed[other, place]
                if equal >= needed:
                    found[row] = True
                    break
    return found
