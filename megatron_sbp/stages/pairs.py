"""`sbp pairs`: applies the rules of `pairs` to the neighbors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from megatron_sbp.base import files
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.recipe import settings
from megatron_sbp.recipe.sections import CONTROL_RELATIONS
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.neighbors import MINED_SPLITS
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage

if TYPE_CHECKING:
    from megatron_sbp.pairing.mined_shards import MinedShard

_DATASETS = {"train": "real", "valid": "valid"}
"""Name of the tokens of each split."""

_NEWER: JsonObject = {
    "max_target_tokens": None,
    "max_seeds_per_target": None,
    "same_fields": [],
    "different_fields": [],
    "collapse_above": None,
    "directions": "mined",
}
"""Left out of the settings while they have these values: pairs that were selected before they existed stay selected."""


class PairsStage(Stage):
    """Applies the rules of `pairs` to the neighbors: pairs/pairs.parquet, pairs/valid_pairs.parquet, pairs/audit.json.

    A pair has a direction: one seed document has many targets, and where each of two documents is among the other's
    neighbors both orders become pairs. A unit is one file of neighbors.
    """

    name = "pairs"
    title = "select pairs among the neighbors: threshold, near-duplicate rule, cap"
    sharded = True
    lists_inputs = True

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        found = {
            "documents": tuple(usual.document_shards(split) for split in MINED_SPLITS),
            "neighbors": tuple(usual.neighbor_shards(split) for split in MINED_SPLITS),
            "tokenize": tuple(usual.tokens(name) for name in _DATASETS.values()),
        }
        if run.recipe.pairs.relation in CONTROL_RELATIONS:
            found["embed"] = tuple(usual.embedding_shards(split) for split in MINED_SPLITS)
        return found

    def settings(self, run: Run) -> JsonObject:
        rules = settings(run.recipe.pairs)
        used = {key: value for key, value in rules.items() if key not in _NEWER or value != _NEWER[key]}
        if rules["directions"] == "one":
            used["coin"] = 2  # the first coin was a different one
        return {**used, "seed": run.recipe.seed}

    def units(self, run: Run) -> list[str]:
        return [f"{split}-{name}" for split in MINED_SPLITS for name in _names(run, split)]

    def owns(self, run: Run) -> tuple[str, ...]:
        return ("pairs",)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.pairing.mined_shards import mine_shard
        from megatron_sbp.pairing.neighbors.vectors import Vectors

        split, _, name = unit.partition("-")
        embeddings = run.embedding_shards(split)
        before = embeddings[: int(name)]
        shard = _shard(run, unit)
        mine_shard(
            run.neighbor_shard(split, name),
            len(Vectors(before)) if before else 0,
            shard,
            documents=run.document_shards(split),
            tokens=run.tokens(_DATASETS[split]),
            embeddings=embeddings,
            rules=run.recipe.pairs,
            run_seed=run.recipe.seed,
            label=f"pairs {unit}",
        )
        return shard.files(run.recipe.pairs)

    def finish(self, run: Run) -> list[Path]:
        from megatron_sbp.pairing.document_rows import read_rows
        from megatron_sbp.pairing.mined_shards import join_shards

        audits = {
            split: join_shards(
                [_shard(run, unit) for unit in self.units(run) if unit.startswith(f"{split}-")],
                run.pairs(split),
                documents=run.document_shards(split),
                tokens=run.tokens(_DATASETS[split]),
                rules=run.recipe.pairs,
                run_seed=run.recipe.seed,
                split=split,
            )
            for split in MINED_SPLITS
        }
        shards = run.document_shards("train")
        audit: JsonObject = {split: audit.summary() for split, audit in audits.items()}
        audit.update(audits["train"].examples(lambda rows: read_rows(shards, rows)))
        files.write_json(run.audit_pairs, audit)
        return [*(run.pairs(split) for split in MINED_SPLITS), run.audit_pairs]

    def intermediate(self, run: Run, path: Path) -> bool:
        return path.parent.name == "shards"


def _names(run: Run, split: str) -> list[str]:
    """Names of the shards of a split."""
    return [file.stem for file in run.neighbor_shards(split)]


def _shard(run: Run, unit: str) -> MinedShard:
    from megatron_sbp.pairing.mined_shards import MinedShard

    return MinedShard(run.pair_shard(unit), run.pair_shard_audit(unit))
