"""Numbers of array tasks as Slurm writes them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

_LONGEST = 100
"""Longest text of numbers that is shown to people, in characters."""


def ranges_of(tasks: Sequence[int]) -> str:
    """Ascending numbers as --array takes them: 1-4,7."""
    parts = []
    for _, group in itertools.groupby(enumerate(tasks), lambda entry: entry[1] - entry[0]):
        numbers = [number for _, number in group]
        parts.append(str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}")
    return ",".join(parts)


def shown(numbers: Sequence[int]) -> str:
    """The same for people, cut short: every other number of thousands would fill a screen."""
    text = ranges_of(numbers)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST].rpartition(',')[0]}, ..."
