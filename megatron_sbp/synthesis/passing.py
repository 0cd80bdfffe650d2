"""How much text of every shard passes the filters that look at one generation alone, counted while others are written.

The counts are hidden files next to the shards until their stage is complete. They depend only on the texts and the
rules, and so does the number of shards, regardless of which workers wrote them and in which order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.shard_names import NUMBERED
from megatron_sbp.base.untyped import JsonValue

SUFFIX = ".passing"


class Passing(NamedTuple):
    """Generations of a shard that pass."""

    generations: int
    passed: int
    """Generations that pass."""
    tokens: int
    """Their tokens, including end-of-document."""
    written: int
    """Tokens of all generations, including end-of-document."""


def write_passing(shard: Path, rules: str, found: Passing) -> None:
    """Writes the counts of a shard.

    Args:
        shard: its file.
        rules: digest of the rules and all of their inputs.
        found: its counts.
    """
    files.write_json(_passing_of(shard), {"rules": rules, "counts": list(found)})


def read_passing(folder: Path, rules: str) -> dict[int, Passing]:
    """Counts under these rules of all counted shards in a folder, by shard number."""
    found: dict[int, Passing] = {}
    for file in folder.glob(f".{NUMBERED}{SUFFIX}"):
        number = file.name[1:].partition(".")[0]
        try:
            counts = _read(file, file.stat().st_mtime_ns)
        except FileNotFoundError:  # the stage was completed meanwhile
            continue
        if number.isdigit() and counts is not None and counts[0] == rules:
            found[int(number)] = counts[1]
    return found


def drop_passing(shard: Path) -> None:
    """Removes the counts of a shard."""
    _passing_of(shard).unlink(missing_ok=True)


def as_counts(value: object) -> Passing | None:
    """Parses counts from a JSON value; None if it is invalid."""
    if not isinstance(value, list) or not all(type(number) is int for number in value):
        return None
    return Passing(*value) if len(value) == len(Passing._fields) else None


def shards_needed(known: Mapping[int, int], target: int, expected: float) -> int:
    """The smallest number of first shards with at least this many passing tokens.

    Args:
        known: tokens that pass, by the number of the shard, of those that are counted.
        target: tokens, at least 1.
        expected: per shard, until one is counted; after that, the mean of the counted shards is used.

    Returns:
        An estimate, unless the shards so far are all counted.
    """
    mean = sum(known.values()) / len(known) if any(known.values()) else expected
    last = max(known, default=-1)
    total = 0.0
    for number in range(last + 1):
        total += known.get(number, mean)
        if total >= target:
            return number + 1
    return last + 1 + math.ceil((target - total) / mean)


def _passing_of(shard: Path) -> Path:
    return shard.with_name(f".{shard.name}{SUFFIX}")


@lru_cache(maxsize=1 << 16)
def _read(file: Path, changed: int) -> tuple[str, Passing] | None:
    """Reads rules and counts from a file; None if it is invalid."""
    try:
        value: JsonValue = files.read_json(file)
    except InputError:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("rules"), str):
        return None
    counts = as_counts(value.get("counts"))
    return None if counts is None else (value["rules"], counts)
