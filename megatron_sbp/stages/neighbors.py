"""`sbp neighbors`: every document's nearest neighbors in its split."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_sbp.base import files
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.pairing.neighbors.scann_tree import is_tuned
from megatron_sbp.planning.query_blocks import block_count_of, part_count_of, query_blocks
from megatron_sbp.recipe import settings
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage, span

if TYPE_CHECKING:
    from megatron_sbp.pairing.neighbors.search import Search

MINED_SPLITS = ("train", "valid")
"""Splits that are searched: pairs to tune with, and pairs that stop the tuning."""

_SCANN_ONLY = ("leaves", "leaves_to_search", "reorder", "recall_sample", "recall_target", "documents_per_index")


class NeighborsStage(Stage):
    """Finds every document's neighbors among all documents of its split; a unit is one file of embeddings, or several
    (the exact engine, and ScaNN with several indexes), and is named after the first and the last: how many it has
    depends on the device, which may change while the stage is in progress.

    neighbors/SPLIT/NNNNN.npz: ids int64 [documents, k] (row numbers over all shards of the split), best first, equal
    scores by ascending id, never the document itself; scores float32 [documents, k]. Where there are fewer than k: -1
    and -2. While the stage runs, ScaNN's indexes are in neighbors/index; the first process that needs one builds it.
    """

    name = "neighbors"
    title = "find the nearest neighbors of every document"
    sharded = True
    lists_inputs = True

    def device_for(self, run: Run) -> str:
        return "gpu" if run.recipe.neighbors.engine == "exact" else "cpu"  # ScaNN has no GPU engine

    def __init__(self) -> None:
        self._opened: tuple[object, Search] | None = None

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        return {"embed": tuple(usual.embedding_shards(split) for split in MINED_SPLITS)}

    def settings(self, run: Run) -> JsonObject:
        chosen = run.recipe.neighbors
        if chosen.engine == "exact":
            return settings(chosen, *_SCANN_ONLY)
        without = [] if _tunes(run) else ["recall_target"]
        without += [] if _has_parts(run) else ["documents_per_index"]
        return {**settings(chosen, *without), "seed": run.recipe.seed}

    def unit_settings(self, run: Run) -> JsonObject:
        return {name: value for name, value in self.settings(run).items() if name != "recall_sample"}

    def units(self, run: Run) -> list[str]:
        return [f"{split}-{_name(shards)}" for split in MINED_SPLITS for shards in _blocks(run, split)]

    def owns(self, run: Run) -> tuple[str, ...]:
        return ("neighbors",)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        split, _, name = unit.partition("-")
        (block,) = (shards for shards in _blocks(run, split) if _name(shards) == name)
        outputs = {int(shard.stem): run.neighbor_shard(split, shard.stem) for shard in block}
        self._open(run, split).write_files(outputs, f"neighbors {unit}")
        return list(outputs.values())

    def finish(self, run: Run) -> list[Path]:
        audits = {split: self._audit(run, split) for split in MINED_SPLITS}
        files.write_json(run.audit_neighbors, {**audits["train"], "valid": audits["valid"]})
        self._opened = None
        shutil.rmtree(run.neighbors_index, ignore_errors=True)
        return [run.audit_neighbors]

    def _audit(self, run: Run, split: str) -> JsonObject:
        from megatron_sbp.pairing.neighbors.audit import audit_neighbors

        search, recipe = self._open(run, split), run.recipe
        found = [run.neighbor_shard(split, file.stem) for file in search.vectors.files]
        return audit_neighbors(search, found, seed=recipe.seed, device=recipe.launch.device, split=split)

    def _open(self, run: Run, split: str) -> Search:
        """The search of a split, kept for the next unit."""
        from megatron_sbp.pairing.neighbors.search import Search
        from megatron_sbp.pairing.neighbors.vectors import Vectors

        paths, recipe = run.embedding_shards(split), run.recipe
        key = (self.unit_settings(run), [(path, path.stat().st_mtime_ns) for path in paths])
        if self._opened is None or self._opened[0] != key:
            self._opened = None  # frees the other split's index first
            search = Search(
                Vectors(paths, checked=True),
                recipe.neighbors,
                seed=recipe.seed,
                device=recipe.launch.device,
                index_folder=run.neighbors_index / split,
                parts=part_count_of(recipe, len(paths)),
            )
            self._opened = key, search
        return self._opened[1]


def _blocks(run: Run, split: str) -> list[list[Path]]:
    """Embeddings of a split, by unit."""
    shards = run.embedding_shards(split)
    blocks = query_blocks(len(shards), block_count_of(run.recipe, len(shards)))
    return [[shards[number] for number in block] for block in blocks]


def _name(block: list[Path]) -> str:
    return span(block[0].stem, block[-1].stem)


def _tunes(run: Run) -> bool:
    """Whether a sample decides how far ScaNN looks, in one split at least."""
    chosen = run.recipe.documents
    return any(is_tuned(documents, run.recipe.neighbors) for documents in (chosen.train, chosen.valid))


def _has_parts(run: Run) -> bool:
    """Whether ScaNN has more than one index, in one split at least."""
    return any(part_count_of(run.recipe, len(run.embedding_shards(split))) > 1 for split in MINED_SPLITS)
