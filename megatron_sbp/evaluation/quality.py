"""Quality of texts, in numbers that need no judge: repetition, duplicates, copying, length.

Every figure is measured in the same way on synthetic and on real text. Shares are between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from megatron_sbp.base.random_streams import Stream
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.evaluation.confidence import pair, pair_share, part
from megatron_sbp.overlap.near_duplicates import near_duplicates, signatures
from megatron_sbp.overlap.repetition import repeated_share
from megatron_sbp.overlap.shingles import shared_fraction, shingle_hashes


def repetition(texts: Sequence[str], limit: float, seed: int) -> JsonObject:
    """How much the texts loop.

    Args:
        texts: the texts.
        limit: filter.max_repetition.
        seed: the run's seed.

    Returns:
        `repetition`: share of the texts in which a larger part than `limit` of the word 4-grams repeats an earlier
        one. `repetition_mean`: that part, averaged, with its ends in `intervals`. None without texts.
    """
    shares = np.array([repeated_share(text) for text in texts])
    mean = part(shares, np.ones(len(shares)), seed)
    return {
        "repetition": float((shares > limit).mean()) if len(shares) else None,
        "repetition_mean": mean["value"],
        "intervals": {"repetition_mean": pair(mean)},
    }


def duplicates(texts: Iterable[str], pairs: int, threshold: float, seed: int) -> JsonObject:
    """Near-duplicates among the texts, by MinHash signatures of word 5-grams.

    The first figure grows with the number of texts, so groups are compared at the same number only.

    Args:
        texts: the texts.
        pairs: random pairs to look at; at most as many as there are.
        threshold: Jaccard similarity from which two texts are near-duplicates.
        seed: the run's seed.

    Returns:
        `duplicate`: share of the texts that are a near-duplicate of an earlier one. `duplicate_documents`: texts.
        `duplicate_pairs_share`: share of near-duplicates among random pairs, with its ends in `intervals`, and
        `duplicate_pairs`: how many of these were looked at. None with fewer than two texts.
    """
    hashed = signatures(texts)
    count = len(hashed)
    result: JsonObject = {
        "duplicate": None,
        "duplicate_documents": count,
        "duplicate_pairs_share": None,
        "duplicate_pairs": 0,
        "intervals": {"duplicate_pairs_share": None},
    }
    if count < 2:
        return result
    first, second = _random_pairs(count, pairs, seed)
    near = np.zeros(len(first), bool)
    for at in range(0, len(first), 4096):
        left, right = hashed[first[at : at + 4096]], hashed[second[at : at + 4096]]
        near[at : at + 4096] = (left == right).mean(axis=1) >= threshold
    found = pair_share(near, first, second, count)
    result["duplicate"] = float(near_duplicates(hashed, threshold).mean())
    result["duplicate_pairs_share"], result["duplicate_pairs"] = found["value"], len(first)
    result["intervals"] = {"duplicate_pairs_share": pair(found)}
    return result


def _random_pairs(count: int, pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random pairs of two different rows; all pairs if there are no more than requested."""
    if count * (count - 1) // 2 <= pairs:
        first, second = np.triu_indices(count, 1)
        return first, second
    random = np.random.default_rng([seed, Stream.DUPLICATE_PAIRS])
    first = random.integers(0, count, pairs)
    return first, (first + random.integers(1, count, pairs)) % count


def copying(texts: Sequence[np.ndarray], seeds: Sequence[np.ndarray], length: int, limit: float) -> float | None:
    """Share of the texts that copy their seed document.

    Args:
        texts: tokens of each text, int [n], without end-of-document.
        seeds: tokens of its seed document.
        length: tokens in a shingle.
        limit: filter.max_copying: the part of the shorter document's shingles above which a text is a copy.
    """
    if not texts:
        return None
    copies = [
        shared_fraction(shingle_hashes(text, length), shingle_hashes(seed, length)) > limit
        for text, seed in zip(texts, seeds, strict=True)
    ]
    return sum(copies) / len(copies)


def lengths(tokens: Sequence[int]) -> dict[str, float] | None:
    """Mean, median, 5th and 95th percentile of the lengths in tokens."""
    if not len(tokens):
        return None
    low, middle, high = np.percentile(tokens, [5, 50, 95])
    return {"mean": float(np.mean(tokens)), "median": float(middle), "p5": float(low), "p95": float(high)}


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Inner products of rows of unit vectors [n, dim]: float64 [n]."""
    return (first.astype(np.float32) * second.astype(np.float32)).sum(axis=1).astype(np.float64)


def other_seeds(seed_rows: np.ndarray, seed: int) -> np.ndarray:
    """For every text the place of a text with another seed document, drawn at random: int64 [n].

    Returns -1 where all texts have the same seed document.
    """
    random = np.random.default_rng([seed, Stream.OTHER_SEEDS])
    places = np.full(len(seed_rows), -1)
    for place, row in enumerate(seed_rows):
        others = np.flatnonzero(seed_rows != row)
        if len(others):
            places[place] = others[random.integers(len(others))]
    return places
