"""Pairs of a split shard by shard: what one task mines, and how the shards are joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from megatron_sbp.base import arrays, files
from megatron_sbp.base.progress import Progress, say
from megatron_sbp.base.side_by_side import side_by_side
from megatron_sbp.documents.ids import read_ids
from megatron_sbp.overlap.shared_shingles import TokenSpans
from megatron_sbp.pairing.copies import find_copies
from megatron_sbp.pairing.field_rules import read_field_rules
from megatron_sbp.pairing.joint_rules import SHARDS_AT_ONCE
from megatron_sbp.pairing.neighbors.neighbor_files import read_neighbors
from megatron_sbp.pairing.neighbors.vectors import Vectors
from megatron_sbp.pairing.no_pairs import no_pairs
from megatron_sbp.pairing.pair_writing import pairs_of, write_pairs
from megatron_sbp.pairing.pairs_audit import PairsAudit
from megatron_sbp.recipe import Pairs
from megatron_sbp.recipe.sections import CONTROL_RELATIONS
from megatron_sbp.tokenization.indexed import open_indexed


@dataclass(frozen=True)
class MinedShard:
    """The files of one shard.

    Attributes:
        pairs: parquet with the columns of `pairs_of`.
        audit: `PairsAudit.state` as JSON.
    """

    pairs: Path
    audit: Path

    @property
    def copies(self) -> Path:
        """.npy of `find_copies`, where `pairs.collapse_above` needs it."""
        return self.pairs.with_suffix(".copies.npy")

    def files(self, rules: Pairs) -> list[Path]:
        """All that is there under these rules."""
        return [self.pairs, self.audit, *([] if rules.collapse_above is None else [self.copies])]


def mine_shard(
    neighbors: Path,
    first_row: int,
    output: MinedShard,
    *,
    documents: Sequence[Path],
    tokens: Path,
    embeddings: Sequence[Path],
    rules: Pairs,
    run_seed: int,
    label: str,
) -> None:
    """Writes the pairs whose seed documents are those of one file of neighbors: see `mine_pairs`.

    Args:
        neighbors: .npz of consecutive documents.
        first_row: of the first of them.
        output: written atomically.
        documents: shards of documents/, in order, for the fields that are compared.
        tokens: prefix of the documents' IndexedDataset: one sequence per document, closed by end-of-document.
        embeddings: vectors of all documents (.npy), in order; read for a control only.
        rules: the recipe's.
        run_seed: of the targets of a control, and of the choice of examples.
        label: for the progress line.
    """
    vectors = Vectors(embeddings) if rules.relation in CONTROL_RELATIONS else None
    audit, spans = PairsAudit(rules, run_seed), spans_of(tokens)
    fields = read_field_rules(rules, documents, len(spans))
    ids, scores = read_neighbors(neighbors)
    with Progress(label, len(ids), "documents") as progress:
        tables, copies = [], []
        for begin in range(0, len(ids), _AT_ONCE):
            some = slice(begin, begin + _AT_ONCE)
            first = first_row + begin
            copies.append(find_copies(ids[some], scores[some], first, spans, rules))
            tables.append(
                pairs_of(
                    ids[some],
                    scores[some],
                    first,
                    documents=spans,
                    fields=fields,
                    rules=rules,
                    audit=audit,
                    run_seed=run_seed,
                    vectors=vectors,
                )
            )
            progress.advance(len(ids[some]))
    with files.atomic_path(output.pairs) as partial:
        pq.write_table(pa.concat_tables(tables), partial, compression="zstd")
    if rules.collapse_above is not None:
        arrays.save(output.copies, np.concatenate(copies))
    files.write_json(output.audit, audit.state())


def join_shards(
    shards: Sequence[MinedShard],
    output: Path,
    *,
    documents: Sequence[Path],
    tokens: Path,
    rules: Pairs,
    run_seed: int,
    split: str,
) -> PairsAudit:
    """Writes the pairs of all shards to one file, with the ids of their documents, some shards in memory at a time.

    Args:
        shards: in order.
        output: parquet, written atomically: see `mine_pairs`.
        documents: shards of documents/, in order, for the ids.
        tokens: see `mine_shard`.
        rules: the recipe's.
        run_seed: see `mine_shard`.
        split: for messages.

    Raises:
        InputError: no pair is left; names what would leave some.
    """
    audit = PairsAudit(rules, run_seed)
    for shard in shards:
        audit.absorb(files.read_json(shard.audit))
    if not any(pq.read_metadata(shard.pairs).num_rows for shard in shards):
        spans = spans_of(tokens)
        raise no_pairs(audit, spans, read_field_rules(rules, documents, len(spans)), split)
    names = read_ids(documents)
    assert audit.documents == len(names), (audit.documents, len(names))
    collapsed = rules.collapse_above is not None
    copies = np.concatenate([np.load(shard.copies) for shard in shards]) if collapsed else np.empty(0, np.int64)
    with Progress(f"pairs {split}, joining", len(shards), "shards") as progress:
        write_pairs(
            lambda: side_by_side(pq.read_table, [shard.pairs for shard in shards], SHARDS_AT_ONCE),
            output,
            names,
            rules,
            audit,
            copies=copies,
            run_seed=run_seed,
            advance=progress.advance,
        )
    say(
        f"pairs: {audit.kept:,} of {audit.candidates:,} {split} candidates kept, {audit.documents_with_pairs:,} of "
        f"{audit.documents:,} documents have pairs"
    )
    return audit


def spans_of(tokens: Path) -> TokenSpans:
    """The tokens of all documents of an IndexedDataset, without the end-of-document that closes each."""
    indexed = open_indexed(tokens)
    return TokenSpans(indexed.tokens, indexed.starts, np.subtract(indexed.lengths, 1, dtype=np.int64))


_AT_ONCE = 4096
"""Documents whose candidates are in memory together."""
