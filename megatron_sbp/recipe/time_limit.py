"""Slurm's time limits."""

from __future__ import annotations

import math


def minutes_of(limit: str) -> float:
    """Minutes of a Slurm time limit (`90`, `4:00:00`, `2-12`); infinite for what is none."""
    days, dash, clock = limit.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in [*parts, *([days] if dash else [])]) or len(parts) > 3:
        return math.inf
    numbers = [int(part) for part in parts]
    if dash:
        hours, minutes, seconds = [*numbers, 0, 0][:3]
        return 1440 * int(days) + 60 * hours + minutes + seconds / 60
    if len(numbers) == 3:
        return 60 * numbers[0] + numbers[1] + numbers[2] / 60
    return numbers[0] + (numbers[1] / 60 if len(numbers) == 2 else 0)
