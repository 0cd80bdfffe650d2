"""Slurm's time limits."""

from __future__ import annotations

import math
import re

_MINUTES = r"\d+(:\d+){0,2}"  # minutes, MM:SS, HH:MM:SS
_DAYS = r"\d+-\d+(:\d+){0,2}"  # D-HH, D-HH:MM, D-HH:MM:SS
_LIMIT = re.compile(f"{_MINUTES}|{_DAYS}|UNLIMITED|INFINITE", re.ASCII)
FORMATS = "minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM, or D-HH:MM:SS"


def is_time_limit(text: str) -> bool:
    """Whether sbatch accepts it for --time."""
    return _LIMIT.fullmatch(text) is not None


def minutes_of(limit: str) -> float:
    """Minutes of a Slurm time limit (`90`, `4:00:00`, `2-12`); infinite for 0, which means no limit, and for anything
    else."""
    days, dash, clock = limit.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in [*parts, *([days] if dash else [])]) or len(parts) > 3:
        return math.inf
    numbers = [int(part) for part in parts]
    if dash:
        hours, minutes, seconds = [*numbers, 0, 0][:3]
        return (1440 * int(days) + 60 * hours + minutes + seconds / 60) or math.inf
    if len(numbers) == 3:
        return (60 * numbers[0] + numbers[1] + numbers[2] / 60) or math.inf
    return (numbers[0] + (numbers[1] / 60 if len(numbers) == 2 else 0)) or math.inf
