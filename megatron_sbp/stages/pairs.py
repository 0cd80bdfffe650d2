"""The stage `pairs`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from megatron_sbp.base import files
from megatron_sbp.recipe import settings
from megatron_sbp.stages.neighbors import MINED_SPLITS
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage

_DATASETS = {"train": "real", "valid": "valid"}
"""Name of the tokens of each split."""


class PairsStage(Stage):
    """Applies the rules of `pairs` to the neighbors: pairs/pairs.parquet, pairs/valid_pairs.parquet, pairs/audit.json.

    A pair has a direction: one seed document has many targets, and where each of two documents is among the other's
    neighbors both orders become pairs.
    """

    name = "pairs"
    title = "select pairs among the neighbors: threshold, near-duplicate rule, cap"

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
        from megatron_sbp.pairing.mining import mine_split

        audits = {
            split: mine_split(
                documents=run.document_shards(split),
                tokens=run.tokens(_DATASETS[split]),
                neighbors=run.neighbor_shards(split),
                embeddings=run.embedding_shards(split),
                rules=run.recipe.pairs,
                run_seed=run.recipe.seed,
                output=run.pairs(split),
                split=split,
            )
            for split in MINED_SPLITS
        }
        shards = run.document_shards("train")
        audit: dict[str, Any] = {split: audit.summary() for split, audit in audits.items()}
        audit.update(audits["train"].examples(lambda rows: read_rows(shards, rows)))
        files.write_json(run.audit_pairs, audit)
        return [*(run.pairs(split) for split in MINED_SPLITS), run.audit_pairs]
