"""Finds evaluation items in texts by their word n-grams, in one pass over any number of texts.

Words are lowercased runs of letters, digits, and underscores. An item occurs in a text that contains any of its
13-grams, or, for an item of 8 to 12 words, all of its words in a row; shorter items are counted but not searched for.
An item with several forms (a question with its answer, and without) occurs where any of them does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numba
import numpy as np

from megatron_sbp.base.compiling import CACHED
from megatron_sbp.overlap.hash_table import insert, new_table, slot_of
from megatron_sbp.overlap.near_duplicates import WordHashes
from megatron_sbp.overlap.shingles import hash_at

LONGEST, SHORTEST = 13, 8

type Item = str | tuple[str, ...]
"""A text, or several forms of one item."""

_WORDS = re.compile(r"\w+")


class ItemIndex:
    """Evaluation items to find in texts. Memory: about 40 bytes per n-gram of the items.

    N-grams are hashed to 64 bits: two different ones are confused with probability 2^-64 each.

    Args:
        groups: the items by group, each a text, or a tuple of its forms.

    Attributes:
        groups: rows of the searchable items of each group.
        too_short: number of other items in each group: none of their forms has 8 words.
    """

    def __init__(self, groups: Mapping[str, Sequence[Item]]):
        self._hashes = WordHashes()
        self.groups: dict[str, range] = {}
        self.too_short = dict.fromkeys(groups, 0)
        values, owners, row = [], [], 0
        widths: set[int] = set()
        for name, items in groups.items():
            first = row
            for item in items:
                forms = [self._words(text) for text in ((item,) if isinstance(item, str) else item)]
                long = [words for words in forms if len(words) >= SHORTEST]
                if not long:
                    self.too_short[name] += 1
                    continue
                widths.update(min(len(words), LONGEST) for words in long)
                parts = [_ngrams(words, min(len(words), LONGEST)) for words in long]
                grams = np.unique(np.concatenate(parts)) if len(parts) > 1 else parts[0]
                values.append(grams)
                owners.append(np.full(len(grams), row, np.int64))
                row += 1
            self.groups[name] = range(first, row)
        self._widths = np.array(sorted(widths), np.int64)
        hashes = np.concatenate([np.empty(0, np.uint64), *values])
        order = np.argsort(hashes, kind="stable")
        self._values, self._owners = hashes[order], np.concatenate([np.empty(0, np.int64), *owners])[order]
        self._table = new_table(len(hashes))
        _fill(self._table, hashes)

    def __len__(self) -> int:
        """Number of searchable items."""
        return sum(map(len, self.groups.values()))

    @property
    def bytes(self) -> int:
        """Memory of the n-grams in bytes."""
        return self._values.nbytes + self._owners.nbytes + self._table.nbytes

    def found(self, text: str) -> np.ndarray:
        """Rows of the items that occur in a text: int64, ascending."""
        present = _present(self._words(text), self._widths, self._table)
        starts = np.searchsorted(self._values, present, "left")
        ends = np.searchsorted(self._values, present, "right")
        owners = [self._owners[start:end] for start, end in zip(starts, ends, strict=True)]
        return np.unique(np.concatenate([np.empty(0, np.int64), *owners]))

    def counts(self, found: np.ndarray) -> dict[str, int]:
        """Found items by group: bool [items] from a mask over all items."""
        return {name: int(found[rows.start : rows.stop].sum()) for name, rows in self.groups.items()}

    def _words(self, text: str) -> np.ndarray:
        return self._hashes.of(" ".join(_WORDS.findall(text)))


@numba.njit(cache=CACHED)
def _ngrams(words: np.ndarray, width: int) -> np.ndarray:
    result = np.empty(len(words) - width + 1, np.uint64)
    for place in range(len(result)):
        result[place] = hash_at(words, place, width)
    return result


@numba.njit(cache=CACHED)
def _fill(table: np.ndarray, values: np.ndarray) -> None:
    for value in values:
        insert(table, value)


@numba.njit(cache=CACHED)
def _present(words: np.ndarray, widths: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Hashes of a text's n-grams that are in the table."""
    result = np.empty(len(words) * len(widths), np.uint64)
    count = 0
    for width in widths:
        for place in range(len(words) - width + 1):
            value = hash_at(words, place, width)
            if slot_of(table, value) >= 0:
                result[count] = value
                count += 1
    return result[:count]
