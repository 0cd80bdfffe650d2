"""Similarity of every raw generation to its seed document, by the embedder used for mining the pairs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from megatron_sbp.base import arrays, files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress
from megatron_sbp.pairing.neighbors.vectors import Vectors

if TYPE_CHECKING:
    from megatron_sbp.pairing.embedding import Embedder

_AT_ONCE = 4096
"""Texts embedded together; batches are cut from them by length."""


def write_similarities(
    generations: Path, output: Path, embedder: Embedder, embeddings: Sequence[Path], label: str
) -> None:
    """Writes the cosine of every generation of a file and its seed document.

    Args:
        generations: raw generations, .jsonl.zst.
        output: .npy, float32 [generations], written atomically; NaN for text without a seed document, 0 for empty text.
        embedder: the model that embedded D.
        embeddings: vectors of D, .npy files, in order.
        label: for the progress line.

    Raises:
        InputError: the embedder's vectors have a different dimension than those of D; see `Embedder.encode`.
    """
    vectors = Vectors(embeddings)
    if vectors.dimensions != embedder.dimensions:
        raise InputError(
            f"the embeddings of D have {vectors.dimensions} dimensions, those of {embedder.settings.model} "
            f"{embedder.dimensions}",
            file=vectors.files[0],
            key="embedding.model",
        )
    rows = list(files.read_jsonl_zst(generations))
    found = np.full(len(rows), np.nan, np.float32)
    seeded = [place for place, row in enumerate(rows) if row["seed_row"] is not None]
    found[seeded] = 0
    seeded = [place for place in seeded if rows[place]["text"].strip()]  # some models embed nothing as a zero
    with Progress(label, len(seeded), "generations") as progress:
        for some in itertools.batched(seeded, _AT_ONCE):

            def name(number: int, some: tuple[int, ...] = some) -> str:
                return f"generation {rows[some[number]]['id']}"

            written = embedder.encode(
                [rows[place]["text"] for place in some],
                progress,
                name=name,
                file=generations,
            )
            seeds = vectors.take(np.array([rows[place]["seed_row"] for place in some], np.int64))
            found[list(some)] = np.einsum("ij,ij->i", written, seeds)
    arrays.save(output, found)
