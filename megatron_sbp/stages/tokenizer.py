"""`sbp tokenizer`: trains a byte-level BPE on the train split, or adopts a Hugging Face tokenizer."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.recipe import settings
from megatron_sbp.recipe.tokenizer_folder import local_tokenizer, tokenizer_files
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage


class TokenizerStage(Stage):
    """Trains a byte-level BPE on the train split, or adopts a Hugging Face tokenizer."""

    name = "tokenizer"
    title = "train a tokenizer on the train split, or copy a Hugging Face one"

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        return {} if run.recipe.tokenizer.path else {"documents": (usual.document_shards("train"),)}

    def external(self, run: Run) -> list[Path]:
        folder = local_tokenizer(run.recipe)
        return [] if folder is None else sorted({p for p in tokenizer_files(folder) if p.is_file()})

    def settings(self, run: Run) -> JsonObject:
        chosen = run.recipe.tokenizer
        if chosen.path is None:
            return settings(chosen)
        # A folder counts by its contents (see `external`), a name on the hub by its name.
        path = None if local_tokenizer(run.recipe) else chosen.path
        return {**settings(chosen, "vocab_size", "train_characters"), "path": path, "adopted": True}

    def owns(self, run: Run) -> tuple[str, ...]:
        return ("tokenizer",)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.tokenization.build import build_tokenizer
        from megatron_sbp.tokenization.tokenizer import save_tokenizer

        recipe = run.recipe
        shards = run.document_shards("train") if recipe.tokenizer.path is None else []
        tokenizer = build_tokenizer(
            recipe.tokenizer,
            (row["text"] for shard in shards for row in files.read_jsonl_zst(shard)),
            folder=local_tokenizer(recipe),
            source=recipe.source,
        )
        return save_tokenizer(run.tokenizer, tokenizer)
