"""`sbp compare`: similarity of every raw generation to its seed document."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.embed import USUAL_ENGINE, EmbedStage
from megatron_sbp.stages.judge import GENERATIONS, generation_names
from megatron_sbp.stages.run_folder import Run


class CompareStage(EmbedStage):
    """Writes synthetic/similarity/NNNNN.npy: the cosine of every raw generation and its seed document, float32.

    A unit is one shard of raw generations. It embeds with the model of `embed`, whose vectors of D are the seeds'.
    """

    name = "compare"
    title = "compare every generation with its seed document, using the embedder"

    def engine(self, run: Run) -> str:
        """Always the usual one: it embeds the texts of one synthesizer, not a corpus."""
        return USUAL_ENGINE

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        return {"embed": (usual.embedding_shards("train"),), "synthesize": (GENERATIONS,)}

    def units(self, run: Run) -> list[str]:
        return generation_names(run)

    def owns(self, run: Run) -> tuple[str, ...]:
        return (usual.SIMILARITIES,)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.synthesis.seed_similarity import write_similarities

        output = run.similarity(unit)
        generations = run.generation_shard(unit)
        write_similarities(
            generations, output, self.embedder(run), run.embedding_shards("train"), f"{self.name} {unit}"
        )
        return [output]
