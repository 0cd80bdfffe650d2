"""Which neighbors become pairs: the rules, applied to one shard of neighbors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from megatron_sbp.overlap.shared_shingles import TokenSpans, shared_fractions
from megatron_sbp.pairing.field_rules import FieldRules
from megatron_sbp.pairing.neighbors.scores import NO_NEIGHBOR
from megatron_sbp.recipe import Pairs

RULES = (
    "below_alpha", "above_max_similarity", "short_target", "long_target", "fields", "near_duplicate",
    "no_near_duplicate", "copy", "cap", "direction", "target_cap",
)  # fmt: skip
"""The first rule that a pair violates drops it; `Candidates.fell_to` contains indices into this tuple."""


def rules_of(rules: Pairs) -> tuple[str, ...]:
    """The rules that pairs are checked against, in the order in which they are applied."""
    left_out = {
        "near_duplicate" if rules.relation == "near_duplicates" else "no_near_duplicate",
        *([] if rules.max_target_tokens is not None else ["long_target"]),
        *([] if rules.same_fields or rules.different_fields else ["fields"]),
        *(rule for rule in ("copy", "direction", "target_cap") if rule not in joint_rules(rules)),
    }
    return tuple(rule for rule in RULES if rule not in left_out)


def joint_rules(rules: Pairs) -> tuple[str, ...]:
    """The rules that need the pairs of all documents, in the order in which they are applied: see `JointRules`."""
    collapsed = rules.collapse_above is not None
    used = {
        "copy": collapsed,
        "cap": collapsed and rules.max_targets_per_seed is not None,  # copies must not take the slots of others
        "direction": rules.directions != "mined",
        "target_cap": rules.max_seeds_per_target is not None,
    }
    return tuple(rule for rule, on in used.items() if on)


@dataclass(frozen=True)
class Candidates:
    """Neighbors of consecutive documents as pairs, ordered by seed, descending score, target.

    Attributes:
        seeds: rows, int64 [pairs].
        targets: rows, int64 [pairs].
        scores: float32 [pairs].
        shared: fraction of the shorter one's shingles that the other contains, float64 [pairs]; NaN if not needed.
        fell_to: index in RULES, int8 [pairs]; -1 for kept pairs.
    """

    seeds: np.ndarray
    targets: np.ndarray
    scores: np.ndarray
    shared: np.ndarray
    fell_to: np.ndarray

    @property
    def kept(self) -> np.ndarray:
        """bool [pairs]."""
        return self.fell_to < 0


def apply_rules(
    ids: np.ndarray, scores: np.ndarray, first_row: int, *, documents: TokenSpans, fields: FieldRules, rules: Pairs
) -> Candidates:
    """Every neighbor with the rule that dropped it; those of `joint_rules` come later.

    Args:
        ids: rows of the neighbors of documents first_row, first_row + 1, ...: int64 [n, k], best first, -1 for none.
        scores: float32 [n, k].
        first_row: row of the first document.
        documents: tokens of all documents.
        fields: what is compared of their fields.
        rules: the recipe's.
    """
    there = ids != NO_NEIGHBOR
    seeds = np.repeat(np.arange(first_row, first_row + len(ids)), there.sum(axis=1))
    targets, scores = ids[there], scores[there]
    assert not (seeds == targets).any(), "a document is its own neighbor"
    fell_to = np.full(len(seeds), -1, np.int8)

    def drop(rule: str, breaks: np.ndarray) -> None:
        fell_to[breaks & (fell_to < 0)] = RULES.index(rule)

    drop("below_alpha", scores <= rules.alpha)
    if rules.max_similarity is not None:
        drop("above_max_similarity", scores > rules.max_similarity)
    drop("short_target", documents.lengths[targets] < rules.min_target_tokens)
    if rules.max_target_tokens is not None:
        drop("long_target", documents.lengths[targets] > rules.max_target_tokens)
    drop("fields", ~fields.allow(seeds, targets))
    shared = np.full(len(seeds), np.nan)
    left = np.flatnonzero(fell_to < 0)
    shared[left] = shared_fractions(documents, seeds[left], targets[left], rules.shingle_tokens)
    copies = shared > rules.max_shared_shingles
    if rules.relation == "near_duplicates":
        drop("no_near_duplicate", ~copies)
    else:
        drop("near_duplicate", copies)
    if rules.max_targets_per_seed is not None and "cap" not in joint_rules(rules):
        left = np.flatnonzero(fell_to < 0)
        over = np.zeros(len(seeds), bool)
        over[left] = rank_within(seeds[left]) >= rules.max_targets_per_seed
        drop("cap", over)
    return Candidates(seeds, targets, scores, shared, fell_to)


def plausible(
    seeds: np.ndarray,
    targets: np.ndarray,
    scores: np.ndarray,
    *,
    documents: TokenSpans,
    fields: FieldRules,
    rules: Pairs,
) -> np.ndarray:
    """Whether pairs pass the rules other than alpha, shared shingles and caps: bool [pairs].

    Args:
        seeds: rows, int64 [pairs].
        targets: rows, int64 [pairs].
        scores: float32 [pairs].
        documents: tokens of all documents.
        fields: what is compared of their fields.
        rules: max_similarity, min_target_tokens and max_target_tokens are used.
    """
    lengths = documents.lengths[targets]
    good = (lengths >= rules.min_target_tokens) & fields.allow(seeds, targets)
    if rules.max_target_tokens is not None:
        good &= lengths <= rules.max_target_tokens
    return good if rules.max_similarity is None else good & (scores <= rules.max_similarity)


def rank_within(seeds: np.ndarray) -> np.ndarray:
    """Number of earlier entries with the same seed; `seeds` ascending, int64 [n]."""
    places = np.arange(len(seeds))
    begins = np.concatenate([[True], seeds[1:] != seeds[:-1]])[: len(seeds)]
    return places - np.maximum.accumulate(np.where(begins, places, 0))
