"""Neighbors to pairs on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.overlap.shared_shingles import TokenSpans, shared_fractions
from megatron_sbp.pairing.neighbors.scores import inner_products
from megatron_sbp.pairing.neighbors.vectors import Vectors
from megatron_sbp.pairing.pairs_audit import REMEMBERED_BELOW_ALPHA, PairsAudit
from megatron_sbp.pairing.random_control import draw_targets
from megatron_sbp.pairing.rules import Candidates, apply_rules, plausible
from megatron_sbp.pairing.target_counts import TargetCounts
from megatron_sbp.recipe import Pairs

SCHEMA = pa.schema(
    [
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("target", pa.int64(), nullable=False),
        pa.field("seed_id", pa.large_string(), nullable=False),
        pa.field("target_id", pa.large_string(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),
    ]
)

_SUGGESTED_PAIRS = 10
"""A suggested alpha leaves at least so many pairs, where there are so many."""


def mine_pairs(
    neighbors: Iterable[tuple[np.ndarray, np.ndarray]],
    documents: TokenSpans,
    names: pa.ChunkedArray,
    rules: Pairs,
    *,
    run_seed: int,
    output: Path,
    vectors: Vectors | None = None,
    split: str = "train",
    advance: Callable[[int], None] | None = None,
) -> PairsAudit:
    """Writes the pairs that the rules keep (or, with relation: random, as many drawn at random) to a parquet file.

    Columns: seed, target int64 (rows over all shards), seed_id, target_id, score float32; ordered by seed, descending
    score, target. One row group per shard of neighbors.

    Args:
        neighbors: (ids int64 [n, k], scores float32 [n, k]) of consecutive documents, shard by shard.
        documents: their tokens.
        names: their ids, large_string [documents].
        rules: the recipe's.
        run_seed: of random targets, and of the choice of examples.
        output: parquet file.
        vectors: embeddings of the documents; needed with relation: random only, for the scores.
        split: for messages.
        advance: called with the number of documents done since the last call.

    Raises:
        InputError: no pair is left; names a value of pairs.alpha that would leave some.
    """
    assert len(documents) == len(names), (len(documents), len(names))
    audit, counts = PairsAudit(rules, run_seed), TargetCounts(len(names))
    with files.atomic_path(output) as partial, pq.ParquetWriter(partial, SCHEMA, compression="zstd") as writer:
        for ids, scores in neighbors:
            pairs = pairs_of(ids, scores, audit.documents, documents, rules, audit, run_seed=run_seed, vectors=vectors)
            counts.add(pairs["target"])
            if len(pairs["seed"]):
                writer.write_table(with_ids(pairs, names))
            if advance:
                advance(len(ids))
        if not audit.kept:
            raise no_pairs(audit, documents, split)
    audit.seeds_per_target = counts.summary(names)
    return audit


def pairs_of(
    ids: np.ndarray,
    scores: np.ndarray,
    first_row: int,
    documents: TokenSpans,
    rules: Pairs,
    audit: PairsAudit,
    *,
    run_seed: int,
    vectors: Vectors | None = None,
) -> dict[str, np.ndarray]:
    """The pairs of consecutive documents: seed, target int64, score float32, ordered as in the file.

    Args:
        ids: of their neighbors, int64 [n, k]; see `apply_rules`.
        scores: float32 [n, k].
        first_row: of the first document.
        documents: tokens of all documents.
        rules: the recipe's.
        audit: notes what became of the neighbors.
        run_seed: see `mine_pairs`.
        vectors: see `mine_pairs`.
    """
    candidates = apply_rules(ids, scores, first_row, documents, rules)
    audit.add(ids, candidates)
    kept = candidates.kept
    if rules.relation == "random":
        pairs = _random(candidates, documents, rules, run_seed, vectors)
        audit.not_drawn += int(kept.sum()) - len(pairs[0])
    else:
        columns = (candidates.seeds, candidates.targets, candidates.scores, candidates.shared)
        pairs = tuple(column[kept] for column in columns)
    audit.add_pairs(*pairs)
    return dict(zip(("seed", "target", "score"), pairs[:3], strict=True))


def with_ids(pairs: Mapping[str, Any], names: pa.ChunkedArray) -> pa.Table:
    """Pairs as they are in the file, with the ids of their documents.

    Args:
        pairs: seed, target, score.
        names: ids of all documents, large_string [documents].
    """
    columns = {**pairs, **{f"{end}_id": names.take(pa.array(pairs[end])) for end in ("seed", "target")}}
    return pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA)


def _random(
    candidates: Candidates, documents: TokenSpans, rules: Pairs, run_seed: int, vectors: Vectors | None
) -> tuple[np.ndarray, ...]:
    """seeds, targets, scores and shared shingles of random pairs, in the order of the file."""
    assert vectors is not None, "random pairs need embeddings for their scores"
    seeds, counts = np.unique(candidates.seeds[candidates.kept], return_counts=True)
    drawn, targets = draw_targets(seeds, counts, documents, rules, run_seed)
    scores = np.empty(len(drawn), np.float32)
    if len(drawn):
        scores = inner_products(vectors.take(drawn), targets[:, None], vectors)[:, 0]
    order = np.lexsort((targets, -scores, drawn))
    drawn, targets, scores = drawn[order], targets[order], scores[order]
    return drawn, targets, scores, shared_fractions(documents, drawn, targets, rules.shingle_tokens)


def no_pairs(audit: PairsAudit, documents: TokenSpans, split: str) -> InputError:
    """What to change when nothing is left."""
    rules = audit.rules
    if audit.largest_score is None:
        return InputError(f"no pairs: the {split} split has {audit.documents} documents", key=f"documents.{split}")
    fallen = ", ".join(f"{rule} {count:,}" for rule, count in audit.dropped.items() if count)
    message = (
        f"no pairs among {audit.documents:,} {split} documents: alpha is {rules.alpha}, the largest score found is "
        f"{audit.largest_score:.4f} ({fallen})"
    )
    survivors = _would_survive(audit.best_below_alpha(), documents, rules)
    if not survivors:
        return InputError(f"{message}; the other rules of `pairs` would drop all of them", key="pairs.alpha")
    score = survivors[min(len(survivors), _SUGGESTED_PAIRS) - 1]
    alpha = np.ceil(score * 100 - 1.001) / 100  # the next lower hundredth
    count = sum(value > alpha for value in survivors)
    more = "at least" if len(audit.best_below_alpha()) == REMEMBERED_BELOW_ALPHA else "about"
    return InputError(f"{message}; alpha {alpha:.2f} would leave {more} {count:,}", key="pairs.alpha")


def _would_survive(best: list[tuple[float, int, int]], documents: TokenSpans, rules: Pairs) -> list[float]:
    """Scores, best first, of those candidates that break no rule but alpha (the cap not counted)."""
    if not best:
        return []
    scores, seeds, targets = (np.array(column) for column in zip(*best, strict=True))
    order = np.argsort(seeds, kind="stable")
    scores, seeds, targets = scores[order], seeds[order], targets[order]
    good = plausible(scores, documents.lengths[targets], rules)
    good &= shared_fractions(documents, seeds, targets, rules.shingle_tokens) <= rules.max_shared_shingles
    return sorted((float(score) for score in scores[good]), reverse=True)
