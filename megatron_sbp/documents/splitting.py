"""Which documents stay, and where shards begin: arithmetic on the figures of parts, no texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from megatron_sbp.documents.parts import ORDER

ROWS_AT_ONCE = 40_000_000
"""Rows that are sorted at once, at about 100 bytes each; more are sorted in passes, each over a range of digests."""

LISTED = 1000
"""Clashes that are listed by place; all are counted. A corpus whose ids restart in every file has millions."""


@dataclass
class Chosen:
    """What is left of the parts of a corpus.

    Attributes:
        keep: bool [documents] per part: which documents stay.
        duplicates: documents whose stripped text another document has too.
        clashes: documents with another text than one that stays, and the same id.
        first_clashes: the first `LISTED` of them in the order of reading: (part, row) of the one that goes and of the
            one that stays.
    """

    keep: list[np.ndarray]
    duplicates: int
    clashes: int
    first_clashes: list[tuple[tuple[int, int], tuple[int, int]]]

    @property
    def usable(self) -> int:
        """Documents that stay."""
        return sum(int(keep.sum()) for keep in self.keep)


def choose(parts: Sequence[np.ndarray], rows_at_once: int = ROWS_AT_ONCE) -> Chosen:
    """Drops exact duplicates, and documents whose id another text has.

    Of equal texts the one with the smallest digest of its id stays, and of equal ids the one with the smallest digest
    of its text: neither depends on the order of the files, nor on the seed. Documents that are equal in both are one,
    the first that was read.

    Args:
        parts: `parts.ROW` [documents] of each input file, in the order of the files.
        rows_at_once: rows sorted at once; bounds the memory.
    """
    chosen = Chosen([np.ones(len(rows), bool) for rows in parts], 0, 0, [])
    listed: list[tuple[int, ...]] = []
    passes = max(1, -(-sum(map(len, parts)) // rows_at_once))
    for rows, places in _gathered(parts, chosen.keep, "text_high", passes, by_line=True):
        order = np.lexsort([rows[name] for name in ("id_low", "id_high", "text_low", "text_high")])  # stable
        goes = places[order[~_first_of_group(rows[order], "text_high", "text_low")]]
        chosen.duplicates += len(goes)
        _drop(chosen.keep, goes)
    for rows, places in _gathered(parts, chosen.keep, "id_high", passes):
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
    """Keys of the documents at some places of the keyed order, in which all that stay are counted from 0.

    Args:
        parts: as for `choose`.
        keep: bool [documents] per part.
        places: ascending.
        rows_at_once: rows sorted at once.

    Returns:
        A record with the fields `order`, `id_high`, `id_low` per place.
    """
    passes = max(1, -(-sum(map(len, parts)) // rows_at_once))
    found: list[np.void] = []
    begin = 0
    for rows, _ in _gathered(parts, keep, "order", passes):
        here = [place - begin for place in places[len(found) :] if place < begin + len(rows)]
        if here:
            order = np.lexsort([rows[name] for name in reversed(ORDER)])
            found += list(rows[list(ORDER)][order[here]])
        begin += len(rows)
    assert len(found) == len(places), (len(found), len(places), begin)
    return found


def _drop(keep: Sequence[np.ndarray], places: np.ndarray) -> None:
    """Notes that the rows at some (part, row), int64 [n, 2], do not stay."""
    places = places[np.argsort(places[:, 0], kind="stable")]
    parts, begins = np.unique(places[:, 0], return_index=True)
    for part, rows in zip(parts.tolist(), np.split(places[:, 1], begins[1:]), strict=False):
        keep[part][rows] = False


def _gathered(
    parts: Sequence[np.ndarray], keep: Sequence[np.ndarray], by: str, passes: int, by_line: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The rows that are kept, in ranges of a column from low to high, and their (part, row): int64 [n, 2]."""
    bounds = [(number << 64) // passes for number in range(passes)]
    for number, low in enumerate(bounds):
        rows, places = [], []
        for part, table in enumerate(parts):
            inside = keep[part].copy()
            if passes > 1:
                column = table[by]
                inside &= column >= np.uint64(low)
                if number + 1 < passes:
                    inside &= column < np.uint64(bounds[number + 1])
            here = np.flatnonzero(inside)
            if by_line:
                here = here[np.argsort(table["line"][here], kind="stable")]
            rows.append(table[here])
            places.append(np.stack([np.full(len(here), part), here], axis=1))
        if rows:
            yield np.concatenate(rows), np.concatenate(places)


def _first_of_group(rows: np.ndarray, *columns: str) -> np.ndarray:
    """bool [n]: whether a row differs from the one before it in one of the columns."""
    new = np.zeros(len(rows), bool)
    new[:1] = True
    for column in columns:
        values = rows[column]
        new[1:] |= values[1:] != values[:-1]
    return new
