"""`sbp index-corpus`: indexes the shingles of D, for the filter of texts that copy any document of it."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.base.progress import say
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.planning.index_layout import IndexPlan
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.run_folder import Run, shard_name
from megatron_sbp.stages.stage import Stage


class IndexCorpusStage(Stage):
    """Indexes the shingles of D, for the filter of texts that copy any document of it.

    A unit is a part of the hashes, and reads all of D: one for every 134 million hashes that are kept. Memory of a
    unit: 1.6 GB; the tokens are mapped from disk.
    """

    name = "index-corpus"
    title = "index the shingles of all training documents, to detect copies of any of them"
    sharded = True

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        return {"tokenize": (usual.tokens("real"),)}

    def settings(self, run: Run) -> JsonObject:
        return {
            "shingle_tokens": run.recipe.pairs.shingle_tokens,
            "corpus_index_gb": run.recipe.filter.corpus_index_gb,
        }

    def units(self, run: Run) -> list[str]:
        return [shard_name(part) for part in range(self._plan(run).parts)]

    def owns(self, run: Run) -> tuple[str, ...]:
        return ("corpus_index",)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.synthesis.corpus_index import write_index_part

        length = run.recipe.pairs.shingle_tokens
        return write_index_part(run.tokens("real"), length, self._plan(run), int(unit), run.corpus_index)

    def finish(self, run: Run) -> list[Path]:
        from megatron_sbp.synthesis.corpus_index import close_index

        found = close_index(run.recipe.pairs.shingle_tokens, self._plan(run), run.corpus_index)
        say(f"index-corpus: {found['entries']:,} shingles, {found['sampled']:.3%} of all hashes")
        return [run.corpus_index_file]

    def _plan(self, run: Run) -> IndexPlan:
        from megatron_sbp.synthesis.corpus_index import plan_corpus_index

        recipe = run.recipe
        return plan_corpus_index(run.tokens("real"), recipe.pairs.shingle_tokens, recipe.filter.corpus_index_gb)
