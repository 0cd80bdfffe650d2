"""Computes how many more generations are needed if the existing ones yield too few tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

LEAST_PASSING = 0.1
"""Minimum share of tokens that must pass: below it, something is wrong, and the rest would cost ten times its yield."""

SPARE = 1.05
"""Margin over the estimate from the last generations: the more there are, the more of them are duplicates."""


class Round(NamedTuple):
    """Tokens of the first `generations` that passed all filters, including the duplicate filter."""

    generations: int
    tokens: int
    """Tokens that passed, including end-of-document."""
    generated_tokens: int
    """Tokens of all generations."""


def further_generations(rounds: Sequence[Round], needed: int) -> int | None:
    """Total number of generations that should yield the tokens needed, estimated from the latest ones.

    Args:
        rounds: measurements, by ascending generations; at least one.
        needed: tokens, more than the last round has.

    Returns:
        At most twice the generations of the last round. None if a tenth or less of the tokens of its generations
        passed: more of them would cost much and yield little.
    """
    last, before = rounds[-1], rounds[-2] if len(rounds) > 1 else Round(0, 0, 0)
    gained, generated = last.tokens - before.tokens, last.generated_tokens - before.generated_tokens
    if gained <= LEAST_PASSING * generated:
        return None
    more = math.ceil(SPARE * (needed - last.tokens) * (last.generations - before.generations) / gained)
    return last.generations + min(more, last.generations)
