"""Neighbors to pairs on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.side_by_side import side_by_side
from megatron_sbp.documents.ids import take_ids
from megatron_sbp.overlap.shared_shingles import TokenSpans
from megatron_sbp.pairing.control_pairs import control_pairs
from megatron_sbp.pairing.copies import find_copies
from megatron_sbp.pairing.field_rules import FieldRules
from megatron_sbp.pairing.joint_rules import SHARDS_AT_ONCE, JointRules
from megatron_sbp.pairing.neighbors.vectors import Vectors
from megatron_sbp.pairing.no_pairs import no_pairs
from megatron_sbp.pairing.pair_rules import apply_rules, joint_rules
from megatron_sbp.pairing.pairs_audit import PairsAudit
from megatron_sbp.pairing.target_counts import TargetCounts
from megatron_sbp.recipe import Pairs
from megatron_sbp.recipe.sections import CONTROL_RELATIONS

SCHEMA = pa.schema(
    [
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("target", pa.int64(), nullable=False),
        pa.field("seed_id", pa.large_string(), nullable=False),
        pa.field("target_id", pa.large_string(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),
    ]
)


def mine_pairs(
    neighbors: Iterable[tuple[np.ndarray, np.ndarray]],
    documents: TokenSpans,
    fields: FieldRules,
    names: pa.ChunkedArray,
    rules: Pairs,
    *,
    run_seed: int,
    output: Path,
    vectors: Vectors | None = None,
    split: str = "train",
    advance: Callable[[int], None] | None = None,
) -> PairsAudit:
    """Writes the pairs that the rules keep (or, for a control, as many unrelated ones) to a parquet file.

    Columns: seed, target int64 (rows over all shards), seed_id, target_id, score float32; ordered by seed, descending
    score, target. One row group per shard of neighbors. All pairs are in memory, without ids.

    Args:
        neighbors: (ids int64 [n, k], scores float32 [n, k]) of consecutive documents, shard by shard.
        documents: their tokens.
        fields: what is compared of their fields.
        names: their ids, large_string [documents].
        rules: the recipe's.
        run_seed: of the targets of a control, and of the choice of examples.
        output: parquet file.
        vectors: embeddings of the documents; needed for a control only, for the scores.
        split: for messages.
        advance: called with the number of documents done since the last call.

    Raises:
        InputError: no pair is left; names what would leave some.
    """
    assert len(documents) == len(names), (len(documents), len(names))
    audit, tables, copies = PairsAudit(rules, run_seed), [], []
    for ids, scores in neighbors:
        copies.append(find_copies(ids, scores, audit.documents, documents, rules))
        tables.append(
            pairs_of(
                ids,
                scores,
                audit.documents,
                documents=documents,
                fields=fields,
                rules=rules,
                audit=audit,
                run_seed=run_seed,
                vectors=vectors,
            )
        )
        if advance:
            advance(len(ids))
    if not any(map(len, tables)):
        raise no_pairs(audit, documents, fields, split)
    write_pairs(lambda: tables, output, names, rules, audit, copies=np.concatenate(copies), run_seed=run_seed)
    return audit


def write_pairs(
    read: Callable[[], Iterable[pa.Table]],
    output: Path,
    names: pa.ChunkedArray,
    rules: Pairs,
    audit: PairsAudit,
    *,
    copies: np.ndarray,
    run_seed: int,
    advance: Callable[[], None] | None = None,
) -> None:
    """Writes pairs with the ids of their documents to a parquet file, atomically; `joint_rules` are applied here.

    Args:
        read: returns what `pairs_of` did, shard by shard, with every call; some are in memory at a time.
        output: see `mine_pairs`.
        names: see `mine_pairs`.
        rules: the recipe's.
        audit: counts what they drop, and seeds per target.
        copies: rows of `find_copies`.
        run_seed: see `mine_pairs`.
        advance: called after each shard.

    Raises:
        InputError: no pair is left.
    """
    joint = JointRules(read, rules, len(names), copies, run_seed)
    counts = TargetCounts(len(names))
    with files.atomic_path(output) as partial, pq.ParquetWriter(partial, SCHEMA, compression="zstd") as writer:
        named = side_by_side(lambda table: (table, _with_ids(table, names)), joint.tables(audit.drop), SHARDS_AT_ONCE)
        for table, rows in named:  # written by one thread, in order
            if joint_rules(rules):
                audit.add_pairs(*(table[name].to_numpy() for name in _NOTED))
            counts.add(table["target"].to_numpy())
            if len(rows):
                writer.write_table(rows)
            if advance:
                advance()
        if not audit.kept:
            fallen = ", ".join(f"{rule} {audit.dropped[rule]:,}" for rule in joint_rules(rules))
            raise InputError(f"no pairs are left after the rules that look at all of them ({fallen})", key="pairs")
    audit.seeds_per_target = counts.summary(names)


def pairs_of(
    ids: np.ndarray,
    scores: np.ndarray,
    first_row: int,
    *,
    documents: TokenSpans,
    fields: FieldRules,
    rules: Pairs,
    audit: PairsAudit,
    run_seed: int,
    vectors: Vectors | None = None,
) -> pa.Table:
    """The pairs of consecutive documents: seed, target int64, score float32, ordered as in the file.

    With `joint_rules`, which are applied when the pairs of all documents are known, there are further columns:
    shared float64 (see `Candidates`), and for a control instead_of_target int64 and instead_of_score float32, the
    mined pair that each replaced.

    Args:
        ids: of their neighbors, int64 [n, k]; see `apply_rules`.
        scores: float32 [n, k].
        first_row: of the first document.
        documents: tokens of all documents.
        fields: what is compared of their fields.
        rules: the recipe's.
        audit: notes what became of the neighbors.
        run_seed: see `mine_pairs`.
        vectors: see `mine_pairs`.
    """
    candidates = apply_rules(ids, scores, first_row, documents=documents, fields=fields, rules=rules)
    audit.add(ids, candidates)
    kept = candidates.kept
    mined = tuple(column[kept] for column in (candidates.seeds, candidates.targets, candidates.scores))
    judged_later = bool(joint_rules(rules))
    if rules.relation in CONTROL_RELATIONS:
        pairs = control_pairs(
            mined, documents=documents, fields=fields, rules=rules, run_seed=run_seed, vectors=vectors
        )
        audit.not_drawn += len(mined[0]) - len(pairs["seed"])
    else:
        pairs = dict(zip(_NOTED, (*mined, candidates.shared[kept]), strict=True))
    if not judged_later:
        audit.add_pairs(*(pairs[name] for name in _NOTED))
    return pa.table(pairs if judged_later else {name: pairs[name] for name in ("seed", "target", "score")})


_NOTED = ("seed", "target", "score", "shared")
"""Columns that `PairsAudit.add_pairs` takes."""


def _with_ids(pairs: pa.Table, names: pa.ChunkedArray) -> pa.Table:
    """Pairs as they are in the file, with the ids of their documents."""
    columns = dict(zip(pairs.column_names, pairs.columns, strict=True))
    columns |= {f"{end}_id": take_ids(names, columns[end]) for end in ("seed", "target")}
    return pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA)
