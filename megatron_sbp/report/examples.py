"""Examples of seed documents and what the synthesizer wrote for them: drawn by a seeded random choice, never picked."""

from __future__ import annotations

from dataclasses import dataclass

from megatron_sbp.evaluation.sampling import choose, rows_of
from megatron_sbp.stages.run_folder import Run

EXAMPLES = 10


@dataclass(frozen=True)
class Example:
    """A seed document and a synthetic document that was kept."""

    seed_id: str
    seed_text: str
    synthetic_id: str
    synthetic_text: str


def draw_examples(run: Run, documents: int, wanted: int = EXAMPLES) -> list[Example]:
    """Draws examples among the kept synthetic documents.

    Args:
        run: the run.
        documents: kept synthetic documents there are.
        wanted: examples asked for.
    """
    shards = run.synthetic_shards()
    drawn = [row for _, row in rows_of(shards, choose(documents, wanted, run.recipe.seed, 31))]
    seeds = dict(rows_of(run.document_shards("train"), (row["seed_row"] for row in drawn)))
    return [
        Example(row["seed_id"], seeds[row["seed_row"]]["text"], row["id"], row["text"])
        for row in drawn
        if row["seed_row"] in seeds
    ]
