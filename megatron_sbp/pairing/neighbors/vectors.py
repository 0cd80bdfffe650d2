"""Reading the embeddings of a split."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from megatron_sbp.errors import InputError


def embedding_files(folder: Path) -> list[Path]:
    """The shards of a split, in order."""
    return sorted(folder.glob("[0-9]*.npy"))


def load_shard(file: Path) -> np.ndarray:
    """One shard as float32 [documents, dim].

    Raises:
        InputError: no array of numbers, or a row that is not finite.
    """
    try:
        vectors = np.load(file).astype(np.float32)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"is no array of embeddings ({error})", file=file) from error
    if vectors.ndim != 2:
        raise InputError(f"has {vectors.ndim} dimensions, embeddings have 2", file=file)
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(wrong):
        raise InputError(f"{len(wrong)} rows are not finite, the first is row {wrong[0]}", file=file)
    return vectors


def load_all(folder: Path) -> np.ndarray:
    """All shards of a split one after another, float32 [documents, dim]."""
    shards = [load_shard(file) for file in embedding_files(folder)]
    widths = {shard.shape[1] for shard in shards}
    if len(widths) != 1:
        raise InputError(f"shards have different dimensions: {sorted(widths)}", file=folder)
    return np.concatenate(shards)


def row_offset(folder: Path, file: Path) -> int:
    """Row number, over all shards, of the first row of one shard."""
    before = [other for other in embedding_files(folder) if other < file]
    return sum(np.load(other, mmap_mode="r").shape[0] for other in before)
