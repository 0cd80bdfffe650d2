"""Unrelated pairs in the place of mined ones, for `pairs.relation: random` and `shuffled`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from megatron_sbp.overlap.shared_shingles import TokenSpans, shared_fractions
from megatron_sbp.pairing.field_rules import FieldRules
from megatron_sbp.pairing.neighbors.scores import inner_products
from megatron_sbp.pairing.neighbors.vectors import Vectors
from megatron_sbp.pairing.pair_rules import rank_within
from megatron_sbp.pairing.random_control import draw_targets
from megatron_sbp.pairing.shuffled_control import deal_targets
from megatron_sbp.recipe import Pairs


def control_pairs(
    mined: Sequence[np.ndarray],
    *,
    documents: TokenSpans,
    fields: FieldRules,
    rules: Pairs,
    run_seed: int,
    vectors: Vectors | None,
) -> dict[str, np.ndarray]:
    """Unrelated pairs in the order of the file, in the place of mined seeds, targets and scores: all columns of
    `pair_writing.pairs_of`."""
    assert vectors is not None, "unrelated pairs need embeddings for their scores"
    if rules.relation == "shuffled":

        def allowed(seeds: np.ndarray, targets: np.ndarray) -> np.ndarray:
            shared = shared_fractions(documents, seeds, targets, rules.shingle_tokens)
            return fields.allow(seeds, targets) & (shared <= rules.max_shared_shingles)

        alike = fields.values[fields.equal][:, mined[0]]
        dealt = deal_targets(mined[0], mined[1], mined[2], allowed=allowed, run_seed=run_seed, alike=alike)
        places = np.flatnonzero(dealt >= 0)
        drawn, targets = mined[0][places], dealt[places]
    else:
        seeds, counts = np.unique(mined[0], return_counts=True)
        drawn, targets = draw_targets(seeds, counts, documents=documents, fields=fields, rules=rules, run_seed=run_seed)
        places = np.searchsorted(mined[0], drawn) + rank_within(drawn)
    scores = np.empty(len(drawn), np.float32)
    if len(drawn):
        scores = inner_products(vectors.take(drawn), targets[:, None], vectors)[:, 0]
    order = np.lexsort((targets, -scores, drawn))
    drawn, targets, places = drawn[order], targets[order], places[order]
    return {
        "seed": drawn,
        "target": targets,
        "score": scores[order],
        "shared": shared_fractions(documents, drawn, targets, rules.shingle_tokens),
        "instead_of_target": mined[1][places],
        "instead_of_score": mined[2][places],
    }
