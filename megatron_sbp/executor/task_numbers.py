"""Numbers of array tasks as Slurm writes them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence


def ranges_of(tasks: Sequence[int]) -> str:
    """Ascending numbers as --array takes them: 1-4,7."""
    parts = []
    for _, group in itertools.groupby(enumerate(tasks), lambda entry: entry[1] - entry[0]):
        numbers = [number for _, number in group]
        parts.append(str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}")
    return ",".join(parts)
