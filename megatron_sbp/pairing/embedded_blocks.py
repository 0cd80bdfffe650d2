"""Embeds any number of documents, saving block by block: a kill costs one block."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.base.progress import Progress, say
from megatron_sbp.pairing.embedding import Embedder, write_embeddings
from megatron_sbp.pairing.embedding_model import model_files, model_folder


def embed_in_blocks(
    blocks: Iterable[Sequence[Mapping[str, str]]], output: Path, embedder: Embedder, folder: Path, progress: Progress
) -> int:
    """Writes the embeddings of documents to one .npy: float16 [documents, dimensions], unit norm, in order.

    Every block is first a hidden file next to the output, whose name identifies its texts and model. A second call
    after a kill reuses existing blocks.

    Args:
        blocks: documents (id and text) in lists; each list is split into batches separately.
        output: written atomically; hidden files are removed afterwards.
        embedder: the model.
        folder: base of a relative model folder.
        progress: advanced by documents.

    Returns:
        The number of documents.

    Raises:
        InputError: see `Embedder.encode`; names row and document id.
    """
    model, count, taken = _model_digest(embedder, folder), 0, 0
    made: list[Path] = []
    for number, block in enumerate(blocks):
        texts = hashlib.blake2b(model, digest_size=16)
        for row in block:
            texts.update(hashlib.blake2b(row["text"].encode(), digest_size=16).digest())
        part = output.with_name(f".{output.name}-{number:06d}-{texts.hexdigest()}.npy")
        if part.exists():
            taken += len(block)
            progress.found(len(block))
        else:
            write_embeddings(block, part, embedder, progress, first=count)
        made.append(part)
        count += len(block)
    if taken:
        say(f"embed: {taken:,} of {count:,} documents were already embedded by an interrupted run")
    with files.atomic_path(output) as partial, open(partial, "wb") as file:
        shape = (count, embedder.dimensions)
        np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": shape})
        for part in made:
            file.write(np.load(part).tobytes())
    for part in output.parent.glob(f".{glob.escape(output.name)}-[0-9]*-*.npy"):
        part.unlink()
    return count


def _model_digest(embedder: Embedder, folder: Path) -> bytes:
    """Digest of everything that changes vectors by more than rounding; a hub model is identified by its name."""
    settings = embedder.settings
    place = model_folder(settings.model, folder)
    weights = None if place is None else [files.sha256(file) for file in model_files(place)]
    return bytes.fromhex(files.digest([settings.of_vectors(), settings.engine, embedder.max_tokens, weights]))[:32]
