"""Neighbors to pairs on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress, say
from megatron_sbp.overlap.shared_shingles import TokenSpans, shared_fractions
from megatron_sbp.pairing.document_ids import read_ids
from megatron_sbp.pairing.neighbors.scores import inner_products
from megatron_sbp.pairing.neighbors.search import read_neighbors
from megatron_sbp.pairing.neighbors.vectors import Vectors
from megatron_sbp.pairing.pairs_audit import REMEMBERED_BELOW_ALPHA, PairsAudit
from megatron_sbp.pairing.random_control import draw_targets
from megatron_sbp.pairing.rules import Candidates, apply_rules
from megatron_sbp.recipe import Pairs
from megatron_sbp.tokenization.indexed import open_indexed

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
    audit = PairsAudit(rules, run_seed)
    with files.atomic_path(output) as partial, pq.ParquetWriter(partial, SCHEMA, compression="zstd") as writer:
        for ids, scores in neighbors:
            candidates = apply_rules(ids, scores, audit.documents, documents, rules)
            audit.add(ids, candidates)
            if rules.relation == "random":
                pairs = _random(candidates, documents, rules, run_seed, vectors)
                audit.not_drawn += int(candidates.kept.sum()) - len(pairs[0])
            else:
                kept = candidates.kept
                pairs = tuple(
                    column[kept]
                    for column in (candidates.seeds, candidates.targets, candidates.scores, candidates.shared)
                )
            audit.add_pairs(*pairs)
            if len(pairs[0]):
                seeds, targets, values, _ = pairs
                table = {
                    "seed": seeds,
                    "target": targets,
                    "seed_id": names.take(pa.array(seeds)),
                    "target_id": names.take(pa.array(targets)),
                    "score": values,
                }
                writer.write_table(pa.table(table, schema=SCHEMA))
            if advance:
                advance(len(ids))
        if not audit.kept:
            raise _no_pairs(audit, documents, split)
    return audit


def mine_split(
    *,
    documents: Sequence[Path],
    tokens: Path,
    neighbors: Sequence[Path],
    embeddings: Sequence[Path],
    rules: Pairs,
    run_seed: int,
    output: Path,
    split: str,
) -> PairsAudit:
    """Mines the pairs of one split from files: see `mine_pairs`.

    Args:
        documents: shards of documents/, in order.
        tokens: prefix of their IndexedDataset: one sequence per document, closed by end-of-document.
        neighbors: their neighbors (.npz), in order.
        embeddings: their vectors (.npy), in order; read with relation: random only.
        rules: the recipe's.
        run_seed: see `mine_pairs`.
        output: parquet file.
        split: for messages.
    """
    indexed = open_indexed(tokens)
    # The end-of-document of every sequence is not a token of the document.
    spans = TokenSpans(indexed.tokens, indexed.starts, indexed.lengths.astype(np.int64) - 1)
    names = read_ids(documents)
    vectors = Vectors(embeddings) if rules.relation == "random" else None
    with Progress(f"pairs {split}", len(names), "documents") as progress:
        audit = mine_pairs(
            map(read_neighbors, neighbors),
            spans,
            names,
            rules,
            run_seed=run_seed,
            output=output,
            vectors=vectors,
            split=split,
            advance=progress.advance,
        )
    assert audit.documents == len(names), (audit.documents, len(names))
    say(
        f"pairs: {audit.kept:,} of {audit.candidates:,} {split} candidates kept, {audit.documents_with_pairs:,} of "
        f"{audit.documents:,} documents have pairs"
    )
    return audit


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


def _no_pairs(audit: PairsAudit, documents: TokenSpans, split: str) -> InputError:
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
    lenient = rules.model_copy(update={"alpha": -2.0, "max_targets_per_seed": None})
    good = documents.lengths[targets] >= lenient.min_target_tokens
    if lenient.max_similarity is not None:
        good &= scores <= lenient.max_similarity
    good &= shared_fractions(documents, seeds, targets, lenient.shingle_tokens) <= lenient.max_shared_shingles
    return sorted((float(score) for score in scores[good]), reverse=True)
