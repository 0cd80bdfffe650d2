"""What to change in the rules when they leave no pair."""

from __future__ import annotations

import numpy as np

from megatron_sbp.base.counts import named_counts
from megatron_sbp.base.errors import InputError
from megatron_sbp.overlap.shared_shingles import TokenSpans, shared_fractions
from megatron_sbp.pairing.field_rules import FieldRules
from megatron_sbp.pairing.pair_rules import plausible
from megatron_sbp.pairing.pairs_audit import REMEMBERED_BELOW_ALPHA, PairsAudit
from megatron_sbp.recipe import Pairs

_SUGGESTED_PAIRS = 10
"""A suggested alpha leaves at least this many pairs, if there are that many."""


def no_pairs(audit: PairsAudit, documents: TokenSpans, fields: FieldRules, split: str) -> InputError:
    """What to change when nothing is left."""
    rules = audit.rules
    if audit.largest_score is None:
        return InputError(f"no pairs: the {split} split has {audit.documents} documents", key=f"documents.{split}")
    message = (
        f"no pairs among {audit.documents:,} {split} documents: alpha is {rules.alpha}, the largest score found is "
        f"{audit.largest_score:.4f} ({named_counts(audit.dropped)})"
    )
    survivors = _would_survive(audit.best_below_alpha(), documents, fields, rules)
    if not survivors:
        return InputError(f"{message}; the other rules of `pairs` would drop all of them", key="pairs.alpha")
    score = survivors[min(len(survivors), _SUGGESTED_PAIRS) - 1]
    alpha = np.ceil(score * 100 - 1.001) / 100  # the next lower hundredth
    count = sum(value > alpha for value in survivors)
    more = "at least" if len(audit.best_below_alpha()) == REMEMBERED_BELOW_ALPHA else "about"
    return InputError(f"{message}; alpha {alpha:.2f} would leave {more} {count:,}", key="pairs.alpha")


def _would_survive(
    best: list[tuple[float, int, int]], documents: TokenSpans, fields: FieldRules, rules: Pairs
) -> list[float]:
    """Scores, best first, of those candidates that break no rule but alpha (caps not counted)."""
    if not best:
        return []
    scores, seeds, targets = (np.array(column) for column in zip(*best, strict=True))
    order = np.argsort(seeds, kind="stable")
    scores, seeds, targets = scores[order], seeds[order], targets[order]
    good = plausible(seeds, targets, scores, documents=documents, fields=fields, rules=rules)
    good &= shared_fractions(documents, seeds, targets, rules.shingle_tokens) <= rules.max_shared_shingles
    return sorted((float(score) for score in scores[good]), reverse=True)
