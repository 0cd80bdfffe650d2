"""Counts what other thresholds of `pairs` would keep, using existing neighbors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from megatron_sbp.base.random_streams import Stream
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.overlap.shared_shingles import TokenSpans, shared_fractions
from megatron_sbp.pairing.alpha_advice import advise, chance_level
from megatron_sbp.pairing.field_rules import FieldRules
from megatron_sbp.pairing.neighbors.scores import NO_NEIGHBOR
from megatron_sbp.pairing.pair_rules import plausible, rank_within
from megatron_sbp.pairing.similarity_bands import BAND, bands_of, limits
from megatron_sbp.recipe import Pairs

SHARED_SHINGLES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
"""Values of pairs.max_shared_shingles tried in addition to the recipe's."""

EXAMPLE_TOKENS = 60


@dataclass(frozen=True)
class SampledNeighbors:
    """Neighbors of some documents.

    Attributes:
        rows: of the documents, int64 [n], ascending.
        ids: rows of their neighbors, int64 [n, k], best first, -1 for none.
        scores: float32 [n, k].
    """

    rows: np.ndarray
    ids: np.ndarray
    scores: np.ndarray


def explore_pairs(
    sample: SampledNeighbors,
    chance: np.ndarray,
    documents: TokenSpans,
    fields: FieldRules,
    rules: Pairs,
    *,
    run_seed: int,
    examples: int,
    text_of: Callable[[np.ndarray], str],
) -> JsonObject:
    """Counts the neighbors of some documents that every alpha, and every limit on shared shingles, would keep.

    The other rules apply as in the recipe, except `joint_rules`, which need all pairs of D. Counts are exact for the
    sampled documents.

    Args:
        sample: seed documents with their neighbors.
        chance: similarities of random pairs of documents, floating point [pairs].
        documents: tokens of all documents.
        fields: comparisons of their fields.
        rules: the recipe's; its alpha and max_shared_shingles are among the values tried.
        run_seed: determines which pairs become examples.
        examples: pairs to read from each band of similarity.
        text_of: tokens to text.

    Returns:
        documents, sampled, k; chance (mean, deviation, level: see `chance_level`); alphas, one entry per hundredth and
        one for the recipe's, with the share of random pairs above it, documents_with_full_lists, near_duplicates (share
        of the pairs above it, before the cap), and for every limit on shared shingles pairs and documents_with_pairs;
        bands with examples; advice (see `advise`); and the recipe's two values.
    """
    there = sample.ids != NO_NEIGHBOR
    places = np.repeat(np.arange(len(sample.rows)), there.sum(axis=1))
    seeds, targets, scores = sample.rows[places], sample.ids[there], sample.scores[there]
    level = chance_level(chance)
    lowest = min(rules.alpha, np.floor(level / BAND) * BAND)
    # Not np.floor: 0.57 * 100 is a little less than 57, and pairs up to `lowest` are not counted.
    hundredths = np.round(np.arange(np.ceil(lowest * 100 - 1e-6), 100) / 100, 2)
    alphas = np.unique(np.append(hundredths, rules.alpha))
    good = (scores > np.float32(lowest)) & plausible(
        seeds, targets, scores, documents=documents, fields=fields, rules=rules
    )
    places, seeds, targets, scores = places[good], seeds[good], targets[good], scores[good]
    shared = shared_fractions(documents, seeds, targets, rules.shingle_tokens)
    limits = sorted({*SHARED_SHINGLES, rules.max_shared_shingles})
    kept = {limit: _kept(places, scores, shared <= limit, alphas, rules.max_targets_per_seed) for limit in limits}
    ours = kept[rules.max_shared_shingles]
    passing = shared <= rules.max_shared_shingles
    last = np.where(there[:, -1], sample.scores[:, -1], -np.inf)
    near = _above(scores[~passing], alphas)
    above = _above(scores, alphas)
    by_alpha = [
        {
            "alpha": float(alpha),
            "random_pairs_above": float(np.mean(chance > alpha)),
            "documents_with_full_lists": int((last > np.float32(alpha)).sum()),
            "near_duplicates": int(near[place]) / max(1, int(above[place])),
            "kept": {
                str(limit): {"pairs": int(pairs[place]), "documents_with_pairs": int(with_pairs[place])}
                for limit, (pairs, with_pairs) in kept.items()
            },
        }
        for place, alpha in enumerate(alphas)
    ]
    return {
        "documents": len(documents),
        "sampled": len(sample.rows),
        "k": sample.ids.shape[1],
        "alpha": rules.alpha,
        "max_shared_shingles": rules.max_shared_shingles,
        "chance": {"mean": float(chance.mean()), "deviation": float(chance.std()), "level": level},
        "alphas": by_alpha,
        "bands": _bands(
            seeds, targets, scores, shared, documents=documents, run_seed=run_seed, examples=examples, text_of=text_of
        ),
        "advice": advise(alphas, scores[passing], ours[1] / max(1, len(sample.rows)), level),
    }


def _kept(
    places: np.ndarray, scores: np.ndarray, passing: np.ndarray, alphas: np.ndarray, cap: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs, and documents with a pair, above each alpha: int64 [alphas] both.

    The best pairs of a document come first, so a cap keeps the same ones for every alpha.
    """
    places, scores = places[passing], scores[passing]
    rank = rank_within(places)
    if cap is not None:
        scores, rank = scores[rank < cap], rank[rank < cap]
    return _above(scores, alphas), _above(scores[rank == 0], alphas)


def _above(scores: np.ndarray, alphas: np.ndarray) -> np.ndarray:
    # As float32, like the stage's comparison.
    return len(scores) - np.searchsorted(np.sort(scores), alphas.astype(np.float32), side="right")


def _bands(
    seeds: np.ndarray,
    targets: np.ndarray,
    scores: np.ndarray,
    shared: np.ndarray,
    *,
    documents: TokenSpans,
    run_seed: int,
    examples: int,
    text_of: Callable[[np.ndarray], str],
) -> list[JsonObject]:
    """Pairs at random from every band of similarity, the highest first; near-duplicates are marked by their share."""
    random = np.random.default_rng([run_seed, Stream.EXPLORED_PAIRS])
    bands = bands_of(scores)
    found = []

    def text(row: int) -> str:
        start = documents.starts[row]
        tokens = documents.tokens[start : start + min(documents.lengths[row], EXAMPLE_TOKENS)]
        return text_of(tokens) + (" [...]" if documents.lengths[row] > EXAMPLE_TOKENS else "")

    for band in np.unique(bands)[::-1]:
        members = np.flatnonzero(bands == band)
        chosen = _one_direction(random.permutation(members), seeds, targets, examples)
        found.append(
            {
                **limits(int(band)),
                "pairs": len(members),
                "examples": [
                    {
                        "score": round(float(scores[place]), 4),
                        "shared_shingles": round(float(shared[place]), 4),
                        "seed": {"row": int(seeds[place]), "text": text(int(seeds[place]))},
                        "target": {"row": int(targets[place]), "text": text(int(targets[place]))},
                    }
                    for place in chosen
                ],
            }
        )
    return found


def _one_direction(order: np.ndarray, seeds: np.ndarray, targets: np.ndarray, number: int) -> list[int]:
    """The first pairs in a given order, ascending; only one direction of each pair."""
    chosen: dict[tuple[int, int], int] = {}
    for place in order.tolist():
        if len(chosen) == number:
            break
        ends = int(seeds[place]), int(targets[place])
        chosen.setdefault((min(ends), max(ends)), place)
    return sorted(chosen.values())
