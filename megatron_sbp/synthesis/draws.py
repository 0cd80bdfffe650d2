"""The plan of draws: which seed document, how often, in which batch. It follows from the recipe alone.

A draw is one text written for one seed document. Draw i belongs to pass i // D over the D documents and takes the
document at place i % D of that pass's own permutation: seed documents are uniform over D, and no document is drawn once
more than another before all had their turn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from megatron_sbp.base.random_streams import Stream


@dataclass(frozen=True)
class Draw:
    """One text to be written.

    Attributes:
        row: row number of the seed document among the train documents.
        number: how many texts were drawn from this document before.
    """

    row: int
    number: int

    @property
    def name(self) -> str:
        """Id of the synthetic document."""
        return f"syn-{self.row}-{self.number}"


def planned_draws(tokens: int, margin: float, tokens_per_draw: float) -> int:
    """Draws for a number of synthetic tokens: tokens x margin / tokens per draw, rounded up."""
    return math.ceil(tokens * margin / tokens_per_draw)


def draws(begin: int, end: int, documents: int, seed: int) -> list[Draw]:
    """The draws from number `begin` to before `end`.

    Args:
        begin: first draw.
        end: the draw after the last.
        documents: D, the number of train documents.
        seed: the run's seed.
    """
    found: list[Draw] = []
    for number in range(begin // documents, -(-end // documents)):
        order = np.random.default_rng([seed, number, Stream.GENERATION_ORDER]).permutation(documents)
        first, last = max(begin, number * documents), min(end, (number + 1) * documents)
        found += [Draw(int(row), number) for row in order[first - number * documents : last - number * documents]]
    return found


def batches(planned: Sequence[Draw], lengths: np.ndarray, size: int) -> list[list[int]]:
    """Cuts draws into batches of prompts of similar length, longest first, equals by identity.

    Args:
        planned: the draws of a shard, in any order: the batches are of the same draws.
        lengths: prompt tokens of every draw, integers [draws].
        size: draws in a batch.

    Returns:
        Per batch the places of its draws in `planned`.
    """
    rows, numbers = np.array([draw.row for draw in planned]), np.array([draw.number for draw in planned])
    order = np.lexsort((numbers, rows, -np.asarray(lengths, np.int64))).tolist()
    return [order[low : low + size] for low in range(0, len(order), size)]
