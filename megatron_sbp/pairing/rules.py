"""The rules that turn neighbours into pairs, in the order in which they are applied and counted."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from megatron_sbp.pairing.near_duplicate_pairs import ShingleTable
from megatron_sbp.recipe import Pairs

RULES = ("below_alpha", "above_max_similarity", "short_target", "near_duplicate", "cap")
"""Names of the rules in audit.json. A candidate counts for the first one that drops it."""


@dataclass
class Selected:
    """Kept pairs, ordered by seed, then by descending score, then by target.

    Attributes:
        seeds: int64 [kept], row numbers; so are `targets`.
        scores: float32 [kept].
        dropped: candidates by rule.
        near_duplicates: int64 [at most 5, 2], examples of pairs dropped as near-duplicates.
    """

    seeds: np.ndarray
    targets: np.ndarray
    scores: np.ndarray
    dropped: dict[str, int] = field(default_factory=dict)
    near_duplicates: np.ndarray = field(default_factory=lambda: np.empty((0, 2), np.int64))


def select(ids: np.ndarray, scores: np.ndarray, lengths: np.ndarray, shingles: ShingleTable, rules: Pairs) -> Selected:
    """Applies the rules.

    Args:
        ids: int64 [documents, k], neighbours of every document; -1 is none.
        scores: float32 [documents, k].
        lengths: tokens of every document, end-of-document not counted.
        shingles: of the same documents.
        rules: the recipe's pairs section.
    """
    seeds, columns = np.nonzero(ids >= 0)
    targets, values = ids[seeds, columns], scores[seeds, columns]
    order = np.lexsort((targets, -values, seeds))
    seeds, targets, values = seeds[order], targets[order], values[order]
    dropped = {}

    def keep(rule: str, kept: np.ndarray) -> None:
        nonlocal seeds, targets, values
        dropped[rule] = int((~kept).sum())
        seeds, targets, values = seeds[kept], targets[kept], values[kept]

    keep("below_alpha", values > rules.alpha)
    limit = np.inf if rules.max_similarity is None else rules.max_similarity
    keep("above_max_similarity", values <= limit)
    keep("short_target", lengths[targets] >= rules.min_target_tokens)
    copies = shingles.shared(seeds, targets) > rules.max_shared_shingles
    examples = np.stack([seeds[copies], targets[copies]], axis=1)[:5]
    keep("near_duplicate", ~copies)
    keep("cap", _rank(seeds) < (rules.max_targets_per_seed or np.iinfo(np.int64).max))
    return Selected(seeds, targets, values, dropped, examples)


def randomise(chosen: Selected, lengths: np.ndarray, shingles: ShingleTable, rules: Pairs, seed: int) -> Selected:
    """The control: the same seed documents, each with as many targets as before, drawn uniformly from all others.

    Near-duplicates and short targets are drawn again, so that only the relation differs.
    """
    rng = np.random.default_rng([seed, 6])
    targets = np.full(len(chosen.seeds), -1, np.int64)
    for _ in range(100):
        open_places = np.flatnonzero(targets < 0)
        if not len(open_places):
            break
        drawn = rng.integers(0, len(lengths), len(open_places))
        seeds = chosen.seeds[open_places]
        good = (drawn != seeds) & (lengths[drawn] >= rules.min_target_tokens)
        good &= shingles.shared(seeds, drawn) <= rules.max_shared_shingles
        targets[open_places[good]] = drawn[good]
    kept = targets >= 0
    return Selected(chosen.seeds[kept], targets[kept], np.zeros(int(kept.sum()), np.float32), chosen.dropped)


def _rank(seeds: np.ndarray) -> np.ndarray:
    """Place of every pair among those of its seed; `seeds` is sorted."""
    if not len(seeds):
        return np.empty(0, np.int64)
    starts = np.flatnonzero(np.concatenate([[True], seeds[1:] != seeds[:-1]]))
    counts = np.diff(np.concatenate([starts, [len(seeds)]]))
    return np.arange(len(seeds)) - np.repeat(starts, counts)
