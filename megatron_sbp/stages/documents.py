"""The stage `documents`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from megatron_sbp.recipe import settings
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage


class DocumentsStage(Stage):
    """Reads the corpus twice: once for hashes, by which documents are dropped and split, once for the texts.

    Memory: 52 bytes per document in the first pass, about 110 while they are sorted, and in the second pass the rows
    of one shard plus 128 MiB. Disk: a second, temporary copy of what is chosen, compressed.
    """

    name = "documents"
    title = "read the corpus, drop duplicates, and split it into train, oracle, valid, and test"

    def external(self, run: Run) -> list[Path]:
        from megatron_sbp.documents.reading import corpus_files

        return corpus_files(run.recipe.documents, run.recipe.folder, run.recipe.source)[0]

    def settings(self, run: Run) -> dict[str, Any]:
        return {**settings(run.recipe.documents, "inputs", "license"), "seed": run.recipe.seed}

    def owns(self, run: Run) -> tuple[str, ...]:
        return ("documents",)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.documents.corpus import CorpusTooSmall, split_corpus

        recipe = run.recipe
        try:
            return split_corpus(
                recipe.documents,
                recipe.seed,
                run.audit_documents.parent,
                folder=recipe.folder,
                scratch=run.documents_scratch,
                rejection_audit=run.log(self.name, "audit").with_suffix(".json"),
                source=recipe.source,
            )
        except CorpusTooSmall as error:
            raise recipe.error("documents.train", error.reason) from error
