"""The stage that writes the nearest neighbours of train and valid documents."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

from megatron_sbp import files
from megatron_sbp.errors import InputError
from megatron_sbp.progress import Progress, say
from megatron_sbp.recipe import settings
from megatron_sbp.run_folder import Run
from megatron_sbp.stages import Stage

PAIRED_SPLITS = ("train", "valid")
"""Splits among whose documents pairs are mined."""


class NeighborsStage(Stage):
    """Writes neighbors/SPLIT/NNNNN.npz (ids, scores: see `Run.neighbors`) and neighbors/audit.json."""

    name = "neighbors"
    title = "find the nearest documents of every document"
    sharded = True

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        return {"embed": tuple(f"embeddings/{split}/*" for split in PAIRED_SPLITS)}

    def settings(self, run: Run) -> dict[str, Any]:
        return {**settings(run.recipe.neighbors), "seed": run.recipe.seed}

    def units(self, run: Run) -> list[str]:
        from megatron_sbp.pairing.neighbors.vectors import embedding_files

        return [f"{split}-{file.stem}" for split in PAIRED_SPLITS for file in embedding_files(run.embeddings(split))]

    def owns(self, run: Run) -> list[Path]:
        return [run.root / "neighbors"]

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        import numpy as np

        from megatron_sbp.pairing.neighbors.vectors import load_shard, row_offset

        split, _, number = unit.partition("-")
        source = run.embeddings(split) / f"{number}.npy"
        queries, first = load_shard(source), row_offset(run.embeddings(split), source)
        with Progress(f"neighbors {split} {number}", len(queries), "documents") as progress:
            ids, scores = _search(run, split, queries, first)
            progress.advance(len(queries))
        target = run.neighbors(split) / f"{number}.npz"
        with files.atomic_path(target) as partial:
            np.savez(partial, ids=ids, scores=scores)
        return [target]

    def finish(self, run: Run) -> list[Path]:
        audit = {split: _audit(run, split) for split in PAIRED_SPLITS}
        for split, figures in audit.items():
            if figures["recall_at_k"] is not None:
                say(
                    f"neighbors: {split} recall@{figures['k']} of {figures['engine']} is {figures['recall_at_k']:.4f} "
                    f"on {figures['recall_sample']} documents"
                )
        target = run.root / "neighbors" / "audit.json"
        files.write_json(target, {**audit["train"], "valid": audit["valid"]})
        return [target]


def _device(run: Run) -> str:
    import torch

    wanted = run.recipe.launch.device
    return ("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted


def _search(run: Run, split: str, queries, first: int):
    from megatron_sbp.pairing.neighbors import exact, scann_engine
    from megatron_sbp.pairing.neighbors.vectors import embedding_files, load_shard

    chosen, folder = run.recipe.neighbors, run.embeddings(split)
    if chosen.engine == "exact":
        shards = (load_shard(file) for file in embedding_files(folder))
        return exact.search(queries, first, shards, chosen.k, _device(run))
    return scann_engine.search(_index(run, split), queries, first, chosen.k)


def _index(run: Run, split: str) -> Path:
    """The ScaNN index of a split, built by the first process that asks for it."""
    from megatron_sbp.pairing.neighbors.scann_engine import build
    from megatron_sbp.pairing.neighbors.vectors import load_all

    folder = run.root / "neighbors" / "index" / split
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f".{split}.lock", "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            vectors = load_all(run.embeddings(split))
            say(f"neighbors: building the ScaNN index of {len(vectors):,} {split} documents")
            build(vectors, run.recipe.neighbors, folder)
    return folder


def _audit(run: Run, split: str) -> dict[str, Any]:
    """Engine, sizes, and the recall on a sample drawn by the run's seed."""
    import numpy as np

    from megatron_sbp.pairing.neighbors import exact
    from megatron_sbp.pairing.neighbors.vectors import embedding_files, load_shard

    chosen, folder = run.recipe.neighbors, run.embeddings(split)
    found = [np.load(file) for file in sorted(run.neighbors(split).glob("[0-9]*.npz"))]
    ids = np.concatenate([part["ids"] for part in found])
    shapes = [np.load(file, mmap_mode="r").shape for file in embedding_files(folder)]
    figures: dict[str, Any] = {
        "engine": chosen.engine,
        "documents": len(ids),
        "dim": shapes[0][1],
        "k": chosen.k,
        "recall_at_k": None,
        "recall_sample": 0,
    }
    if sum(shape[0] for shape in shapes) != len(ids):
        raise InputError(f"holds {len(ids)} documents, the embeddings are {sum(s[0] for s in shapes)}", file=folder)
    if chosen.engine == "scann":
        figures |= files.read_json(run.root / "neighbors" / "index" / split / "parameters.json")
    sample = min(chosen.recall_sample, len(ids))
    if sample:
        rows = np.sort(np.random.default_rng([run.recipe.seed, 5]).permutation(len(ids))[:sample])
        offsets = np.cumsum([0] + [shape[0] for shape in shapes])
        queries = np.concatenate(
            [
                load_shard(file)[rows[(rows >= low) & (rows < high)] - low]
                for file, low, high in zip(embedding_files(folder), offsets[:-1], offsets[1:], strict=True)
            ]
        )
        shards = (load_shard(file) for file in embedding_files(folder))
        truth, _ = exact.search(queries, 0, shards, chosen.k, _device(run), rows=rows)
        hits = sum(len(np.intersect1d(a[a >= 0], b[b >= 0])) for a, b in zip(ids[rows], truth, strict=True))
        figures |= {"recall_at_k": hits / max(1, int((truth >= 0).sum())), "recall_sample": sample}
    return figures
