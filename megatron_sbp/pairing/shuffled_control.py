"""The control with the mined targets, reassigned among pairs of similar score.

Random targets differ from mined ones in more than relatedness: a hub is the target of many seed documents, and
documents close to others may be short or based on a template. Here, every target occurs as often as in the mined pairs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from megatron_sbp.base.random_streams import Stream

BAND = 0.05
"""Width of the similarity bands within which targets are reassigned."""

_DEALS = 30


def deal_targets(
    seeds: np.ndarray,
    targets: np.ndarray,
    scores: np.ndarray,
    *,
    allowed: Callable[[np.ndarray, np.ndarray], np.ndarray],
    run_seed: int,
    alike: np.ndarray | None = None,
) -> np.ndarray:
    """Assigns each pair the target of another pair in the same band of similarity that is not related to its seed.

    A seed document gets no target twice, and none of its mined targets; targets that cannot be assigned in 30 rounds
    are omitted. The assignment depends on `run_seed` and the first seed document.

    Args:
        seeds: rows, int64 [pairs], ascending: all mined pairs of these documents.
        targets: rows, int64 [pairs].
        scores: float32 [pairs].
        allowed: whether pairs of rows, int64 [n] and int64 [n], satisfy all rules: bool [n].
        run_seed: the recipe's seed.
        alike: values that separate pairs into groups, any integers [values, pairs]: those that the rules require both
            documents of a pair to share.

    Returns:
        The targets, int64 [pairs]; -1 for a pair that gets none.
    """
    dealt = np.full(len(seeds), -1, np.int64)
    if not len(seeds):
        return dealt
    first_seed = int(seeds[0])
    random = np.random.default_rng([run_seed, first_seed, Stream.SHUFFLED_TARGETS])
    taken = set(zip(seeds.tolist(), targets.tolist(), strict=True))

    def good(some: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        fits = (some != theirs) & allowed(some, theirs)
        fits[fits] = [pair not in taken for pair in zip(some[fits].tolist(), theirs[fits].tolist(), strict=True)]
        return fits

    for here in _groups(scores, alike):
        places, hand = here, targets[here]
        for _ in range(_DEALS):
            hand = random.permutation(hand)
            fits = good(seeds[places], hand)
            for place, target in zip(places[fits].tolist(), hand[fits].tolist(), strict=True):
                pair = int(seeds[place]), target
                if pair not in taken:  # another one of this round may be the same
                    taken.add(pair)
                    dealt[place] = target
            left = dealt[places] < 0
            places, hand = places[left], hand[left]
            if not len(places):
                break
            # A target that fits nowhere is swapped with an assigned one if both then fit.
            placed = here[dealt[here] >= 0]
            others = random.permutation(placed)[: len(places)]
            some = slice(len(others))
            both = good(seeds[places[some]], dealt[others]) & good(seeds[others], hand[some])
            for number in np.flatnonzero(both).tolist():
                place, other, target = int(places[number]), int(others[number]), int(hand[number])
                gives, takes = (int(seeds[place]), int(dealt[other])), (int(seeds[other]), target)
                if gives != takes and not taken.intersection((gives, takes)):
                    taken.remove((int(seeds[other]), int(dealt[other])))
                    taken.update((gives, takes))
                    dealt[place], dealt[other] = dealt[other], target
            left = dealt[places] < 0
            places, hand = places[left], hand[left]
    return dealt


def _groups(scores: np.ndarray, alike: np.ndarray | None) -> list[np.ndarray]:
    """Indices of the pairs among which targets are reassigned."""
    bands = np.floor(scores.astype(np.float64) / BAND).astype(np.int64)
    apart = np.stack([bands.view(np.uint64), *(() if alike is None else alike)])
    groups = np.unique(apart, axis=1, return_inverse=True)[1].reshape(-1)
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
