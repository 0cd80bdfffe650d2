"""`sbp embed`: one file of vectors per file of documents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from megatron_sbp.base.shard_names import JSONL_ZST
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.pairing.embedding_model import model_files, model_folder
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage

if TYPE_CHECKING:
    from megatron_sbp.pairing.embedder import Embedder

USUAL_ENGINE = "sentence_transformers"

EMBEDDED_SPLITS = ("train", "valid", "test")
"""Splits that have embeddings: train and valid are mined for pairs, the evaluation takes distractors from test."""


class EmbedStage(Stage):
    """Embeds documents/, one file of vectors per file of documents.

    embeddings/SPLIT/NNNNN.npy: float16 [documents, dimensions], unit norm, rows in the order of the documents. The
    batch size is not part of the settings: it changes vectors by rounding only, and a smaller one after running
    out of memory must not discard finished shards.
    """

    name = "embed"
    title = "embed the documents"
    sharded = True
    lists_inputs = True
    device = "gpu"

    def __init__(self) -> None:
        self._loaded: tuple[object, Embedder] | None = None

    def engine(self, run: Run) -> str:
        """The engine, `embedding.engine`."""
        return run.recipe.embedding.engine

    def python(self, run: Run) -> Path | None:
        chosen = run.recipe.embedding.vllm.python
        return None if self.engine(run) == USUAL_ENGINE or chosen is None else run.recipe.folder / chosen

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        return {"documents": tuple(usual.document_shards(split) for split in EMBEDDED_SPLITS)}

    def external(self, run: Run) -> list[Path]:
        folder = model_folder(run.recipe.embedding.model, run.recipe.folder)
        return [] if folder is None else model_files(folder)

    def settings(self, run: Run) -> JsonObject:
        chosen = run.recipe.embedding
        local = model_folder(chosen.model, run.recipe.folder) is not None
        engine = {} if self.engine(run) == USUAL_ENGINE else {"engine": self.engine(run)}
        # A folder counts by its contents (see `external`), a model on the hub by its name.
        return {**chosen.of_vectors(), "model": None if local else chosen.model, **engine}

    def units(self, run: Run) -> list[str]:
        return [
            f"{split}-{shard.name.removesuffix(JSONL_ZST)}"
            for split in EMBEDDED_SPLITS
            for shard in run.document_shards(split)
        ]

    def owns(self, run: Run) -> tuple[str, ...]:
        return ("embeddings",)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.pairing.embedding import embed_shard

        split, _, number = unit.partition("-")
        output = run.embedding_shard(split, number)
        embed_shard(run.document_shard(split, number), output, self.embedder(run), f"embed {unit}")
        return [output]

    def embedder(self, run: Run) -> Embedder:
        """The model, loaded once for all units of a process."""
        from megatron_sbp.pairing.embedders import open_embedder

        key = (self.engine(run), run.recipe.embedding, run.recipe.folder, run.recipe.launch.device)
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = key, open_embedder(*key)
        return self._loaded[1]
