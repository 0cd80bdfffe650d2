"""Embedding engines by their names in a recipe."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.pairing.embedding import Embedder
from megatron_sbp.recipe import Embedding


def open_embedder(engine: str, settings: Embedding, folder: Path, device: str = "auto") -> Embedder:
    """Loads the model of a recipe.

    Args:
        engine: a value of `embedding.engine`.
        settings: see `Embedder`.
        folder: see `Embedder`.
        device: see `Embedder`.

    Raises:
        InputError: see `Embedder` and `VllmEmbedder`.
    """
    if engine == "vllm":
        from megatron_sbp.pairing.vllm_embedding import VllmEmbedder

        return VllmEmbedder(settings, folder, device)
    return Embedder(settings, folder, device)
