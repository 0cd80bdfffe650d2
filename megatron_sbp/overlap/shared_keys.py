"""Finds the rows of a long list that share a key, by sorting, in passes over parts of the keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

ROWS_AT_ONCE = 1 << 26
"""Rows per pass; a pass takes about 40 bytes per row."""


@dataclass(frozen=True)
class Groups:
    """Rows grouped by key; only keys that at least two rows have.

    Attributes:
        rows: int64 [m], group after group, ascending within each.
        bounds: int64 [groups + 1], start of each group in `rows`.
    """

    rows: np.ndarray
    bounds: np.ndarray

    @property
    def repeats(self) -> np.ndarray:
        """The rows that are not the first of their group: int64."""
        return np.delete(self.rows, self.bounds[:-1])


def shared_keys(parts: Sequence[np.ndarray], rows_at_once: int = ROWS_AT_ONCE) -> Iterator[Groups]:
    """Groups of rows with the same key, in one or more passes, each over different keys.

    Args:
        parts: the keys, unsigned integers [n] each; the rows of a part follow those of the part before it. They may be
            memory maps: a pass loads only its own rows of each.
        rows_at_once: rows per pass, for evenly distributed keys.
    """
    passes = max(1, -(-sum(map(len, parts)) // rows_at_once))
    for number in range(passes):
        keys, rows = _of_pass(parts, number, passes)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        like_next = np.zeros(len(keys) + 1, bool)  # shifted by one: equal to the previous key
        like_next[1:-1] = keys[1:] == keys[:-1]
        shared = like_next[1:] | like_next[:-1]
        first = shared & ~like_next[:-1]
        yield Groups(rows[order[shared]], np.append(np.flatnonzero(first[shared]), shared.sum()))


def _of_pass(parts: Sequence[np.ndarray], number: int, passes: int) -> tuple[np.ndarray, np.ndarray]:
    """Keys of a pass, and their rows."""
    keys: list[np.ndarray] = [np.empty(0, np.uint64)] if not parts else []
    rows: list[np.ndarray] = [np.empty(0, np.int64)]
    begin = 0
    for part in parts:
        mine = np.flatnonzero(part % passes == number) if passes > 1 else np.arange(len(part))
        keys.append(part[mine])
        rows.append(mine + begin)
        begin += len(part)
    return np.concatenate(keys), np.concatenate(rows)
