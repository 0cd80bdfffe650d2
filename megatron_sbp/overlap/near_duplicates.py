"""Near-duplicates among many texts: MinHash signatures, and bands of them as keys (locality-sensitive hashing).

The signatures are our own so that they stay the same: verdicts of finished runs depend on them, and no library promises
its hash function across versions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numba
import numpy as np

from megatron_sbp.overlap.shingles import hash_at

_PRIME = np.uint64((1 << 61) - 1)
_REMEMBERED_WORDS = 1_000_000


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
    hashes = WordHashes()
    rows = [_minima(hashes.of(text), words, factors, offsets) for text in texts]
    return np.stack(rows) if rows else np.empty((0, permutations), np.uint32)


class WordHashes(dict[str, int]):
    """64-bit hashes of words, remembered."""

    def __missing__(self, word: str) -> int:
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self[word] = value = int.from_bytes(digest, "little")
        return value

    def of(self, text: str) -> np.ndarray:
        """Hashes of the words of a text in their order: uint64 [words]."""
        if len(self) > _REMEMBERED_WORDS:
            self.clear()
        found = text.lower().split()
        return np.fromiter(map(self.__getitem__, found), np.uint64, len(found))


@numba.njit(cache=True)
def _minima(hashes: np.ndarray, words: int, factors: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The least permuted hash of the shingles under every permutation: uint32 [permutations].

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


def near_duplicates(signed: np.ndarray, threshold: float, band: int = 4) -> np.ndarray:
    """Which texts are near-duplicates of an earlier one that is none itself.

    Texts that agree in a whole band of the signature are candidates; a candidate counts if its signature agrees with
    the earlier one's in `threshold` of all places or more. With bands of 4 of 128 places a pair at Jaccard 0.7 is no
    candidate with probability (1 - 0.7^4)^32 = 0.0002.

    Args:
        signed: what `signatures` gives, in the order in which texts count as earlier.
        threshold: Jaccard similarity.
        band: places in a band.

    Returns:
        bool [texts]. Memory beside the signatures: about 400 bytes per text.
    """
    texts, places = signed.shape
    bands = places // band
    slots = 1 << max(4, (texts * bands - 1).bit_length())
    return _find(np.ascontiguousarray(signed, np.uint32), int(np.ceil(threshold * places - 1e-9)), band, slots)


@numba.njit(cache=True)
def _find(signed: np.ndarray, needed: int, band: int, slots: int) -> np.ndarray:
    texts, places = signed.shape
    bands = places // band
    found = np.zeros(texts, np.bool_)
    # Chains of earlier texts per slot; a slot is that of a band and its values, or by chance of several of them.
    head = np.full(slots, -1, np.int64)
    following = np.full((texts, bands), -1, np.int64)
    compared = np.full(texts, -1, np.int64)
    mine = np.empty(bands, np.int64)
    for text in range(texts):
        for number in range(bands):
            value = np.uint64(number + 1) * np.uint64(0x9E3779B97F4A7C15)
            for place in range(number * band, (number + 1) * band):
                value = (value ^ np.uint64(signed[text, place])) * np.uint64(0xBF58476D1CE4E5B9)
                value ^= value >> np.uint64(29)
            mine[number] = np.int64(value & np.uint64(slots - 1))
            link = head[mine[number]]
            while link >= 0 and not found[text]:
                other = link // bands
                if compared[other] != text:
                    compared[other] = text
                    equal = 0
                    for place in range(places):
                        equal += signed[text, place] == signed[other, place]
                    found[text] = equal >= needed
                link = following[other, link % bands]
            if found[text]:
                break
        if not found[text]:
            # Those that are dropped lead to the text that they repeat, so they need no chain of their own.
            for number in range(bands):
                following[text, number] = head[mine[number]]
                head[mine[number]] = text * bands + number
    return found
