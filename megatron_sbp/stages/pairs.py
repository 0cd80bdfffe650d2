"""The stage `pairs`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from megatron_sbp.base import files
from megatron_sbp.base.progress import Progress, say
from megatron_sbp.recipe import settings
from megatron_sbp.stages.neighbors import MINED_SPLITS
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage

_DATASETS = {"train": "real", "valid": "valid"}
"""Where the tokens of each split lie."""


class PairsStage(Stage):
    """Applies the rules of `pairs` to the neighbours: pairs/pairs.parquet, pairs/valid_pairs.parquet, pairs/audit.json.

    A pair has a direction: one seed document has many targets, and where each of two documents is among the other's
    neighbours both orders become pairs.
    """

    name = "pairs"
    title = "neighbours to pairs: threshold, near-duplicate rule, cap"

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        found = {
            "documents": tuple(f"documents/{split}/*.jsonl.zst" for split in MINED_SPLITS),
            "neighbors": tuple(f"neighbors/{split}/*.npz" for split in MINED_SPLITS),
            "tokenize": tuple(f"tokens/{name}.*" for name in _DATASETS.values()),
        }
        if run.recipe.pairs.relation == "random":
            found["embed"] = tuple(f"embeddings/{split}/*.npy" for split in MINED_SPLITS)
        return found

    def settings(self, run: Run) -> dict[str, Any]:
        return {**settings(run.recipe.pairs), "seed": run.recipe.seed}

    def owns(self, run: Run) -> tuple[str, ...]:
        return ("pairs",)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.pairing.document_ids import read_rows

        audits = {split: _mine(run, split) for split in MINED_SPLITS}
        shards = run.document_shards("train")
        audit = {split: audit.summary() for split, audit in audits.items()}
        audit.update(audits["train"].examples(lambda rows: read_rows(shards, rows)))
        files.write_json(run.audit_pairs, audit)
        return [*(run.pairs(split) for split in MINED_SPLITS), run.audit_pairs]


def _mine(run: Run, split: str) -> Any:
    import numpy as np

    from megatron_sbp.overlap.shared_shingles import TokenSpans
    from megatron_sbp.pairing.document_ids import read_ids
    from megatron_sbp.pairing.mining import mine_pairs
    from megatron_sbp.pairing.neighbors.vectors import Vectors
    from megatron_sbp.tokenization.indexed import open_indexed

    recipe = run.recipe
    indexed = open_indexed(run.tokens(_DATASETS[split]))
    # Every sequence is closed by an end-of-document, which is no token of the document.
    spans = TokenSpans(indexed.tokens, indexed.starts, indexed.lengths.astype(np.int64) - 1)
    names = read_ids(run.document_shards(split))
    paths = sorted(run.neighbors(split).glob("[0-9]*.npz"))
    assert len(names) == len(spans), (len(names), len(spans))
    vectors = None
    if recipe.pairs.relation == "random":
        vectors = Vectors(sorted(run.embeddings(split).glob("[0-9]*.npy")))
    with Progress(f"pairs {split}", len(names), "documents") as progress:
        audit = mine_pairs(
            (_shard(path) for path in paths),
            spans,
            names,
            recipe.pairs,
            recipe.seed,
            run.pairs(split),
            vectors,
            split,
            progress.advance,
        )
    assert audit.documents == len(names), (audit.documents, len(names))
    say(
        f"pairs: {audit.kept:,} of {audit.candidates:,} {split} candidates kept, {audit.documents_with_pairs:,} of "
        f"{audit.documents:,} documents have some"
    )
    return audit


def _shard(path: Path) -> tuple[Any, Any]:
    import numpy as np

    with np.load(path) as shard:
        return shard["ids"], shard["scores"]
