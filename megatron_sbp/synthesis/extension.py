"""How many more generations it takes when the existing ones leave too few tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

LEAST_PASSING = 0.1
"""Part of the tokens that must pass: with less, something is wrong, and the rest would cost ten times what it gives."""

SPARE = 1.05
"""Generations more than the last ones say are needed: the more there are, the more of them repeat others."""


class Round(NamedTuple):
    """What all filters, duplicates included, left of the first `generations`."""

    generations: int
    tokens: int
    """That passed, end-of-document included."""
    generated_tokens: int
    """Of all generations."""


def further_generations(rounds: Sequence[Round], needed: int) -> int | None:
    """Generations in all that should leave the tokens needed, by what the latest ones added.

    Args:
        rounds: what was measured, by ascending generations; at least one.
        needed: tokens, more than the last round has.

    Returns:
        At most twice the generations of the last round. None where a tenth or less of the tokens of its generations
        passed: more of them would cost much and yield little.
    """
    last, before = rounds[-1], rounds[-2] if len(rounds) > 1 else Round(0, 0, 0)
    gained, generated = last.tokens - before.tokens, last.generated_tokens - before.generated_tokens
    if gained <= LEAST_PASSING * generated:
        return None
    more = math.ceil(SPARE * (needed - last.tokens) * (last.generations - before.generations) / gained)
    return last.generations + min(more, last.generations)
