"""The stage `neighbors`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from megatron_sbp.base import files
from megatron_sbp.base.device import compute_device
from megatron_sbp.base.progress import Progress, say
from megatron_sbp.recipe import settings
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage

MINED_SPLITS = ("train", "valid")
"""Splits that are searched: pairs to tune with, and pairs that stop the tuning."""

_SCANN_ONLY = ("leaves", "leaves_to_search", "reorder", "recall_sample")


class NeighborsStage(Stage):
    """Searches every document's neighbours among all documents of its split, one file of embeddings after another.

    neighbors/SPLIT/NNNNN.npz: ids int64 [documents, k] (row numbers over all shards of the split), best first, equal
    scores by ascending id, never the document itself; scores float32 [documents, k]. Where there are fewer than k: -1
    and -2. The index of ScaNN lies in neighbors/index while the stage is at work; the first process builds it.
    """

    name = "neighbors"
    title = "the nearest documents of every document"
    sharded = True

    def device_for(self, run: Run) -> str:
        return "gpu" if run.recipe.neighbors.engine == "exact" else "cpu"  # ScaNN has no GPU engine

    def __init__(self):
        self._opened: tuple[Any, Any] | None = None

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        return {"embed": tuple(f"embeddings/{split}/*.npy" for split in MINED_SPLITS)}

    def settings(self, run: Run) -> dict[str, Any]:
        chosen = run.recipe.neighbors
        if chosen.engine == "exact":
            return settings(chosen, *_SCANN_ONLY)
        return {**settings(chosen), "seed": run.recipe.seed}

    def unit_settings(self, run: Run) -> dict[str, Any]:
        return {name: value for name, value in self.settings(run).items() if name != "recall_sample"}

    def units(self, run: Run) -> list[str]:
        return [f"{split}-{file.stem}" for split in MINED_SPLITS for file in _embeddings(run, split)]

    def owns(self, run: Run) -> tuple[str, ...]:
        return ("neighbors",)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        import numpy as np

        split, _, number = unit.partition("-")
        vectors, index = self._open(run, split)
        place = [file.stem for file in vectors.files].index(number)
        queries = vectors.read(place)
        own = np.arange(len(queries), dtype=np.int64) + vectors.starts[place]
        k = run.recipe.neighbors.k
        if index is None:
            from megatron_sbp.pairing.neighbors.exact import nearest

            with Progress(f"neighbors {unit}", len(vectors), "documents compared") as progress:
                ids, scores = nearest(
                    queries, own, vectors, k, compute_device(run.recipe.launch.device), progress.advance
                )
        else:
            with Progress(f"neighbors {unit}", len(queries), "documents") as progress:
                ids, scores = index.nearest(queries, own, k, progress.advance)
        output = run.neighbors(split) / f"{number}.npz"
        with files.atomic_path(output) as partial:
            np.savez(partial, ids=ids, scores=scores)
        return [output]

    def finish(self, run: Run) -> list[Path]:
        audit = {**_audit(run, "train"), "valid": _audit(run, "valid")}
        files.write_json(run.audit_neighbors, audit)
        self._opened = None
        shutil.rmtree(run.neighbors_index, ignore_errors=True)
        return [run.audit_neighbors]

    def _open(self, run: Run, split: str) -> tuple[Any, Any]:
        """The vectors of a split and the index over them (None for the exact engine), kept for the next unit."""
        from megatron_sbp.pairing.neighbors.vectors import Vectors

        paths = _embeddings(run, split)
        key = (self.unit_settings(run), [(path, path.stat().st_mtime_ns) for path in paths])
        if self._opened is None or self._opened[0] != key:
            self._opened = None  # frees the other split's index first
            vectors, index = Vectors(paths), None
            if run.recipe.neighbors.engine == "scann":
                from megatron_sbp.pairing.neighbors.scann_engine import ScannIndex, plan

                planned = plan(len(vectors), vectors.dimensions, run.recipe.neighbors, run.recipe.seed)
                index = ScannIndex(vectors, planned, run.neighbors_index / split)
            self._opened = key, (vectors, index)
        return self._opened[1]


def _audit(run: Run, split: str) -> dict[str, Any]:
    """How the neighbours of a split were found, and how well: recall_at_k is 1 by definition for the exact engine and
    null where nothing was measured."""
    import numpy as np

    from megatron_sbp.pairing.neighbors.vectors import Vectors

    chosen, vectors = run.recipe.neighbors, Vectors(_embeddings(run, split))
    audit: dict[str, Any] = {
        "engine": chosen.engine,
        "documents": len(vectors),
        "dim": vectors.dimensions,
        "k": chosen.k,
    }
    if chosen.engine == "exact":
        return {**audit, "method": "exact", "recall_at_k": 1.0, "recall_sample": 0}
    from megatron_sbp.pairing.neighbors.recall import measure, sample_rows
    from megatron_sbp.pairing.neighbors.scann_engine import plan

    planned = plan(len(vectors), vectors.dimensions, chosen, run.recipe.seed)
    rows = sample_rows(len(vectors), chosen.recall_sample, run.recipe.seed)
    value = None
    if rows.size:
        found = np.empty((len(rows), chosen.k), np.int64)
        for place, file in enumerate(vectors.files):
            mine = np.flatnonzero((rows >= vectors.starts[place]) & (rows < vectors.starts[place + 1]))
            if mine.size:
                with np.load(run.neighbors(split) / f"{file.stem}.npz") as shard:
                    found[mine] = shard["ids"][rows[mine] - vectors.starts[place]]
        with Progress(f"recall {split}", len(vectors), "documents compared") as progress:
            # ScaNN runs on CPU nodes, also of a run whose other stages need a GPU.
            device = "cpu" if run.recipe.launch.device == "cpu" else compute_device("auto")
            value = measure(found, rows, vectors, device, progress.advance)
        say(f"neighbors: recall@{chosen.k} of ScaNN ({planned.method}) on {len(rows):,} {split} documents: {value:.4f}")
    return {
        **audit,
        "method": planned.method,
        "recall_at_k": value,
        "recall_sample": len(rows),
        "leaves": planned.leaves,
        "leaves_to_search": planned.leaves_to_search,
        "reorder": planned.reorder,
    }


def _embeddings(run: Run, split: str) -> list[Path]:
    return sorted(run.embeddings(split).glob("[0-9]*.npy"))
