"""Finds raw generations that repeat an earlier one, band by band, in up to one process per band."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np

from megatron_sbp.base import arrays
from megatron_sbp.overlap.near_duplicates import BANDS, repeats_in_band
from megatron_sbp.overlap.shared_keys import shared_keys
from megatron_sbp.recipe import Filter
from megatron_sbp.synthesis.judged import Judged

EXACT = "exact"


def searches(rules: Filter) -> list[str]:
    """Names of the searches that find all duplicates: `exact`, and with `duplicates: near` one per band."""
    bands = [f"band-{number:02d}" for number in range(BANDS)] if rules.duplicates == "near" else []
    return [EXACT, *bands]


def find_repeats(search: str, shards: Sequence[Judged], output: Path, rules: Filter) -> int:
    """Writes which of the generations that passed the other rules repeat an earlier one: int64 [repeats], ascending.

    Numbers are indices among the generations that passed, over all shards. Memory: about 40 bytes for each of them, at
    most 3 GB, and 1 GB of signatures, regardless of their number. Returns the number of repeats.

    Args:
        search: one of `searches`.
        shards: in order.
        output: .npy, written atomically.
        rules: the recipe's filter section.
    """
    if search != EXACT:
        band = int(search.removeprefix("band-"))
        keys = _Mapped([shard.bands for shard in shards], band)
        found = repeats_in_band(keys, _Signatures(shards).take, rules.duplicate_threshold)
    elif rules.duplicates == "keep":
        found = np.empty(0, np.int64)
    else:
        digests = _Mapped([shard.digests for shard in shards])
        found = np.sort(np.concatenate([groups.repeats for groups in shared_keys(digests)]))
    arrays.save(output, found)
    return len(found)


class _Mapped(Sequence[np.ndarray]):
    """Arrays in files, each mapped only while in use: two maps for each of 100,000 shards would exceed Linux's limit of
    65,530 per process.

    Args:
        paths: .npy.
        row: of each array; None takes the whole one.
    """

    def __init__(self, paths: Sequence[Path], row: int | None = None):
        self._paths, self._row = paths, row

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, place: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, place: slice) -> _Mapped: ...
    def __getitem__(self, place: int | slice) -> np.ndarray | _Mapped:
        if isinstance(place, slice):
            return _Mapped(self._paths[place], self._row)
        array = np.load(self._paths[place], mmap_mode="r")
        return array if self._row is None else array[self._row]


class _Signatures:
    """The signatures of all shards, as one array on disk."""

    def __init__(self, shards: Sequence[Judged]):
        self._parts = _Mapped([shard.signatures for shard in shards])
        self._begins = np.cumsum([0, *map(len, self._parts)])

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Signatures of the given rows: uint32 [rows, 128]."""
        order = np.argsort(rows, kind="stable")  # in disk order, so each page is read once
        ascending = rows[order]
        found = np.empty((len(rows), self._parts[0].shape[1]), np.uint32)
        cuts = np.searchsorted(ascending, self._begins)
        for number in np.flatnonzero(cuts[1:] > cuts[:-1]).tolist():
            mine = slice(cuts[number], cuts[number + 1])
            found[order[mine]] = self._parts[number][ascending[mine] - self._begins[number]]
        return found


def join_repeats(found: Sequence[Path], shards: Sequence[Judged], outputs: Sequence[Path]) -> int:
    """Joins the results of all searches, shard by shard.

    Args:
        found: what `find_repeats` wrote.
        shards: in order.
        outputs: .npy of each shard, written atomically: int64 [repeats], ascending, numbers among the generations of
            the shard that passed.

    Returns:
        The number of repeats.
    """
    begins = np.cumsum([0, *(len(np.load(shard.digests, mmap_mode="r")) for shard in shards)])
    # One byte per generation: all 33 searches find an exact duplicate, at 8 bytes each.
    repeated = np.zeros(begins[-1], np.bool_)
    for file in found:
        repeated[np.load(file)] = True
    for output, begin, end in zip(outputs, begins, begins[1:], strict=False):
        arrays.save(output, np.flatnonzero(repeated[begin:end]))
    return int(np.count_nonzero(repeated))
