"""Decides which documents stay and where shards begin, from the records of parts, without texts."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from megatron_sbp.base.side_by_side import side_by_side
from megatron_sbp.documents.parts import ORDER, ROW

ROWS_AT_ONCE = 40_000_000
"""Rows compared in one pass, at 30 bytes each, and 100 more for each duplicate digest; more rows take several passes,
each over a range of digests."""

LISTED = 1000
"""Maximum number of id clashes that are listed; all are counted. A corpus whose ids restart in every file has
millions."""


@dataclass
class Chosen:
    """The documents of a corpus that stay.

    Attributes:
        keep: bool [documents] per part: which documents stay.
        duplicates: documents dropped because another has the same stripped text.
        clashes: documents dropped because a document with a different text has the same id.
        first_clashes: the first `LISTED` of them in reading order: (part, row) of the dropped one and of the one that
            stays.
    """

    keep: list[np.ndarray]
    duplicates: int
    clashes: int
    first_clashes: list[tuple[tuple[int, int], tuple[int, int]]]

    @property
    def usable(self) -> int:
        """Number of documents that stay."""
        return sum(int(keep.sum()) for keep in self.keep)


def choose(parts: Sequence[np.ndarray], rows_at_once: int = ROWS_AT_ONCE) -> Chosen:
    """Drops exact duplicates, and documents whose id belongs to another text.

    Of equal texts the one with the smallest digest of its id stays, and of equal ids the one with the smallest digest
    of its text: neither depends on the order of the files, nor on the seed. Documents that are equal in both are one,
    the first that was read.

    Args:
        parts: `parts.ROW` [documents] of each part, in the order of the files.
        rows_at_once: rows per pass; bounds the memory.
    """
    chosen = Chosen([np.ones(len(rows), bool) for rows in parts], 0, 0, [])
    listed: list[tuple[int, ...]] = []
    passes = max(1, -(-sum(map(len, parts)) // rows_at_once))
    for rows, places in _repeated(parts, chosen.keep, "text_high", passes):
        order = np.lexsort([rows[name] for name in ("id_low", "id_high", "text_low", "text_high")])  # stable
        goes = places[order[~_first_of_group(rows[order], "text_high", "text_low")]]
        chosen.duplicates += len(goes)
        _drop(chosen.keep, goes)
    for rows, places in _repeated(parts, chosen.keep, "id_high", passes):
        order = np.lexsort([rows[name] for name in ("text_low", "text_high", "id_low", "id_high")])
        first = _first_of_group(rows[order], "id_high", "id_low")
        stays = order[first][np.cumsum(first) - 1] if len(order) else order
        goes, others, lines = places[order[~first]], places[stays[~first]], rows["line"][order[~first]]
        chosen.clashes += len(goes)
        _drop(chosen.keep, goes)
        some = np.lexsort((lines, goes[:, 0]))[:LISTED]
        listed += zip(*(column[some].tolist() for column in (goes[:, 0], lines, goes[:, 1], *others.T)), strict=True)
        listed = sorted(listed)[:LISTED]
    chosen.first_clashes = [((part, row), (other, there)) for part, _, row, other, there in listed]
    return chosen


def keys_at(
    parts: Sequence[np.ndarray], keep: Sequence[np.ndarray], places: Sequence[int], rows_at_once: int = ROWS_AT_ONCE
) -> list[np.void]:
    """Keys of the documents at some positions of the keyed order, counting the documents that stay from 0.

    Args:
        parts: as for `choose`.
        keep: bool [documents] per part.
        places: ascending.
        rows_at_once: rows per pass.

    Returns:
        A record with the fields `order`, `id_high`, `id_low` per position.
    """
    passes = max(1, -(-sum(map(len, parts)) // rows_at_once))
    found: list[np.void] = []
    begin = 0
    for column, heres in _columns(parts, keep, "order", passes):
        in_order = np.sort(column)
        here = np.array([place - begin for place in places[len(found) :] if place < begin + len(column)], np.int64)
        begin += len(column)
        if not len(here):
            continue
        values = in_order[here]
        rows, _ = _rows_of(parts, heres, column, np.unique(values))
        rows = rows[np.lexsort([rows[name] for name in reversed(ORDER)])]
        # The position among the rows of this value.
        there = np.searchsorted(rows["order"], values) + here - np.searchsorted(in_order, values)
        found += list(rows[list(ORDER)][there])
    assert len(found) == len(places), (len(found), len(places), begin)
    return found


def _drop(keep: Sequence[np.ndarray], places: np.ndarray) -> None:
    """Drops the rows at some (part, row), int64 [n, 2]."""
    places = places[np.argsort(places[:, 0], kind="stable")]
    parts, begins = np.unique(places[:, 0], return_index=True)
    for part, rows in zip(parts.tolist(), np.split(places[:, 1], begins[1:]), strict=False):
        keep[part][rows] = False


def _columns(
    parts: Sequence[np.ndarray], keep: Sequence[np.ndarray], by: str, passes: int
) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """A column of the kept rows, in ascending ranges of its values: uint64 [n], and their rows in every part."""
    bounds = [(number << 64) // passes for number in range(passes)]
    for number, low in enumerate(bounds):
        high = bounds[number + 1] if number + 1 < passes else None
        read = functools.partial(_between, by=by, low=low, high=high)
        found = list(side_by_side(read, zip(parts, keep, strict=True)))  # many parts are limited by the disk
        yield np.concatenate([np.empty(0, np.uint64), *(values for values, _ in found)]), [here for _, here in found]


def _between(part: tuple[np.ndarray, np.ndarray], by: str, low: int, high: int | None) -> tuple[np.ndarray, np.ndarray]:
    """A column of a part's kept rows with values in a range, and these rows."""
    table, inside = part
    column = np.ascontiguousarray(table[by])
    if low:
        inside = inside & (column >= np.uint64(low))
    if high is not None:
        inside = inside & (column < np.uint64(high))
    here = np.flatnonzero(inside)
    return column[here], here


def _repeated(
    parts: Sequence[np.ndarray], keep: Sequence[np.ndarray], by: str, passes: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The kept rows whose value in a column occurs more than once, as from `_rows_of`."""
    for column, heres in _columns(parts, keep, by, passes):
        in_order = np.sort(column)
        yield _rows_of(parts, heres, column, np.unique(in_order[1:][in_order[1:] == in_order[:-1]]))


def _rows_of(
    parts: Sequence[np.ndarray], heres: list[np.ndarray], column: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The rows with one of some values in a column, in reading order, and their (part, row): int64 [n, 2].

    Args:
        parts: `parts.ROW` [documents] each.
        heres: int64 [n] per part: the rows of the column.
        column: uint64 [total n].
        values: uint64 [m], ascending.
    """
    rows, places, begin = [np.empty(0, ROW)], [np.empty((0, 2), np.int64)], 0
    for part, (table, here) in enumerate(zip(parts, heres, strict=True)):
        own = column[begin : begin + len(here)]
        begin += len(here)
        if len(values):
            here = here[values[np.minimum(np.searchsorted(values, own), len(values) - 1)] == own]
            here = here[np.argsort(table["line"][here], kind="stable")]
            rows.append(table[here])
            places.append(np.stack([np.full(len(here), part), here], axis=1))
    return np.concatenate(rows), np.concatenate(places)


def _first_of_group(rows: np.ndarray, *columns: str) -> np.ndarray:
    """bool [n]: whether a row differs from the one before it in one of the columns."""
    new = np.zeros(len(rows), bool)
    new[:1] = True
    for column in columns:
        values = rows[column]
        new[1:] |= values[1:] != values[:-1]
    return new
