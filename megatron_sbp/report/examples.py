"""Examples of seed documents and what the synthesizer wrote for them, drawn at random from the seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from megatron_sbp.base.random_streams import Stream
from megatron_sbp.evaluation.sampling import choose
from megatron_sbp.pairing.document_rows import rows_of

EXAMPLES = 60


@dataclass(frozen=True)
class Example:
    """A seed document and a synthetic document that was kept."""

    seed_id: str
    seed_text: str
    synthetic_id: str
    synthetic_text: str


def draw_examples(
    synthetic: Sequence[Path], documents: Sequence[Path], kept: int, seed: int, wanted: int = EXAMPLES
) -> list[Example]:
    """Draws examples among the kept synthetic documents.

    Args:
        synthetic: their shards in order.
        documents: shards of D in order.
        kept: how many synthetic documents there are.
        seed: the run's seed.
        wanted: how many examples to draw.
    """
    drawn = [row for _, row in rows_of(synthetic, choose(kept, wanted, seed, Stream.EXAMPLES))]
    drawn = [row for row in drawn if row["seed_row"] is not None]
    seeds = dict(rows_of(documents, (row["seed_row"] for row in drawn)))
    return [
        Example(row["seed_id"], seeds[row["seed_row"]]["text"], row["id"], row["text"])
        for row in drawn
        if row["seed_row"] in seeds
    ]
