"""The plan of generations: seed document, repetition, and batch. It depends only on the recipe.

A generation is one text written for one seed document. Generation i belongs to pass i // D over the D documents and
uses the document at index i % D of that pass's permutation: seed documents are uniform over D, and no document is used
again before all others have been used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from megatron_sbp.base.random_streams import Stream


@dataclass(frozen=True)
class Generation:
    """One text to generate.

    Attributes:
        row: row number of the seed document among the train documents.
        number: number of earlier generations for this document.
    """

    row: int
    number: int

    @property
    def name(self) -> str:
        """Id of the synthetic document, unless a control uses another."""
        return f"syn-{self.row}-{self.number}"


def planned_generations(tokens: int, margin: float, tokens_per_generation: float) -> int:
    """Generations for a number of synthetic tokens: tokens x margin / tokens per generation, rounded up."""
    return math.ceil(tokens * margin / tokens_per_generation)


def generations(begin: int, end: int, documents: int, seed: int) -> list[Generation]:
    """Generations `begin` to `end` - 1.

    Args:
        begin: first generation.
        end: one past the last generation.
        documents: D, the number of train documents.
        seed: the run's seed.
    """
    found: list[Generation] = []
    for number in range(begin // documents, -(-end // documents)):
        order = np.random.default_rng([seed, number, Stream.GENERATION_ORDER]).permutation(documents)
        first, last = max(begin, number * documents), min(end, (number + 1) * documents)
        found += [Generation(int(row), number) for row in order[first - number * documents : last - number * documents]]
    return found


def named(name: str) -> Generation | None:
    """The generation of a document's id (`syn-ROW-NUMBER`, and `sample-` and `replaced-` likewise), or None."""
    found = re.fullmatch(r"(?:syn|sample|replaced)-(\d{1,15})-(\d{1,15})", name)
    return Generation(int(found[1]), int(found[2])) if found else None


def place_of(generation: Generation, documents: int, seed: int) -> int | None:
    """Number of a generation in the plan: the inverse of `generations`; None for a row that is not a document.

    Args:
        generation: the generation.
        documents: D, the number of train documents.
        seed: the run's seed.
    """
    if generation.row >= documents:
        return None
    order = np.random.default_rng([seed, generation.number, Stream.GENERATION_ORDER]).permutation(documents)
    return generation.number * documents + int(np.flatnonzero(order == generation.row)[0])


def batches(planned: Sequence[Generation], lengths: np.ndarray, size: int) -> list[list[int]]:
    """Splits generations into batches with prompts of similar length, longest first, ties by identity.

    Args:
        planned: the generations of a shard, in any order: the batches are of the same generations.
        lengths: prompt tokens of every generation, integers [generations].
        size: generations in a batch.

    Returns:
        The indices of each batch's generations in `planned`.
    """
    rows, numbers = (
        np.array([generation.row for generation in planned]),
        np.array([generation.number for generation in planned]),
    )
    order = np.lexsort((numbers, rows, -np.asarray(lengths, np.int64))).tolist()
    return [order[low : low + size] for low in range(0, len(order), size)]
