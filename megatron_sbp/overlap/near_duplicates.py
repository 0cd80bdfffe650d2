"""Near-duplicates among many texts: MinHash signatures, and bands of them as keys (locality-sensitive hashing)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numba
import numpy as np

from megatron_sbp.overlap.shingles import shingle_hashes

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
    known: dict[str, int] = {}
    rows = [_minima(shingle_hashes(_words(text, known), words), factors, offsets) for text in texts]
    return np.stack(rows) if rows else np.empty((0, permutations), np.uint32)


def _words(text: str, known: dict[str, int]) -> np.ndarray:
    """64-bit hashes of the words in their order: uint64 [words]."""
    found = text.lower().split()
    if len(known) > _REMEMBERED_WORDS:
        known.clear()
    for word in found:
        if word not in known:
            digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            known[word] = int.from_bytes(digest, "little")
    return np.fromiter((known[word] for word in found), np.uint64, len(found))


@numba.njit(cache=True)
def _minima(hashes: np.ndarray, factors: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The least permuted hash under every permutation: uint32 [permutations]."""
    result = np.empty(len(factors), np.uint32)
    for place in range(len(factors)):
        least = np.uint64(0xFFFFFFFF)
        for value in hashes:
            # Universal hashing (a x + b) mod p of 32 bits; the product of 32 and 31 bits stays below 2^63.
            permuted = (((value >> np.uint64(32)) * factors[place] + offsets[place]) % _PRIME) & np.uint64(0xFFFFFFFF)
            least = min(least, permuted)
        result[place] = least
    return result


def near_duplicates(signed: np.ndarray, threshold: float, band: int = 4) -> np.ndarray:
    """Which texts are near-duplicates of an earlier one that is none itself.

    Texts that agree in a whole band of the signature are candidates; a candidate counts when its signature agrees with
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
    # Chains of earlier texts per slot; a slot stands for a band and its values, or by chance for several of them.
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
