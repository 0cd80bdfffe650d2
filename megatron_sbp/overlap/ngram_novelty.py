"""Finds the word n-grams of given texts that occur nowhere else in a large corpus, for all n in one pass.

Memory depends on the texts, not the corpus: a hash table of their n-grams, 13 bytes per slot.
"""

from __future__ import annotations

import numba
import numpy as np

from megatron_sbp.base.compiling import CACHED
from megatron_sbp.overlap.hash_table import insert, new_table, slot_of, slots_for
from megatron_sbp.overlap.near_duplicates import WordHashes

LONGEST = 13
"""Maximum n-gram length in words."""

_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_BEGIN = np.uint64(0x51B9_0C7F_2D3A_66E5)
_SHIFT = np.uint64(29)
_ONE = np.uint64(1)
_ZERO = np.uint64(0)


class NgramNovelty:
    """Counts, for n from 1 to `longest`, the word n-grams of given texts that a corpus does not contain.

    First `add` the texts, then `look` at every document of the corpus, then ask for `counts` and `known`. N-grams are
    hashed to 64 bits: two different ones are confused with probability 2^-64 each.

    Args:
        longest: the largest n.
    """

    def __init__(self, longest: int = LONGEST):
        self.longest = longest
        self._hashes = WordHashes()
        self._texts: dict[str, list[tuple[np.ndarray, int]]] = {}
        self._table: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def add(self, group: str, text: str, own: int = -1) -> None:
        """Adds a text of a group.

        Args:
            group: name of the text's group.
            text: words are lowercased and separated by white space.
            own: row of the corpus that is, or contains, this text and is ignored; -1 for none.
        """
        assert self._table is None, "texts are added before the corpus is read"
        self._texts.setdefault(group, []).append((self._hashes.of(text), own))

    @property
    def bytes(self) -> int:
        """Memory of the table of all added texts in bytes."""
        return 13 * slots_for(self._ngrams())

    def look(self, row: int, text: str) -> None:
        """Records which n-grams a document of the corpus contains.

        Args:
            row: its number, as in `own`.
            text: of the document.
        """
        _mark(self._hashes.of(text), row, self.longest, self._ready())

    def found(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Everything recorded, for `absorb`: ascending slots of the n-grams in the corpus, the first row with each, and
        whether other rows contain it, too."""
        _, first, others = self._ready()
        places = np.flatnonzero(first >= 0)
        return places, first[places], others[places]

    def absorb(self, found: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
        """Adds the findings of another process in other documents, with the same texts added in the same order."""
        _, first, others = self._ready()
        places, other_first, other_others = found
        mine = first[places]
        others[places] |= other_others | ((mine >= 0) & (mine != other_first))
        first[places] = np.where(mine < 0, other_first, mine)

    def counts(self, group: str) -> np.ndarray:
        """int64 [texts, longest, 2]: novel n-grams and all n-grams of each text, n = 1 first; each distinct one once.

        An n-gram is novel if no other document than the text's own contains it.
        """
        rows = [
            _count(words, own, self.longest, new_table(len(words) * self.longest), self._ready())
            for words, own in self._texts.get(group, [])
        ]
        return np.stack(rows) if rows else np.empty((0, self.longest, 2), np.int64)

    def known(self, words: list[str], own: int = -1) -> np.ndarray:
        """Whether each of some words of the added texts occurs in the corpus outside `own`: bool [words]."""
        hashed = self._hashes.of(" ".join(words))
        return ~_novel_words(hashed, own, self._ready())

    def _ready(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Keys uint64 [slots], the first row with each int32 [slots] (-1 for none), and whether others contain it,
        too."""
        if self._table is None:
            keys = new_table(self._ngrams())
            for group in self._texts.values():
                for words, _ in group:
                    _insert(words, self.longest, keys)
            self._table = keys, np.full(len(keys), -1, np.int32), np.zeros(len(keys), np.bool_)
        return self._table

    def _ngrams(self) -> int:
        """Maximum number of n-grams of all texts."""
        return self.longest * sum(len(words) for group in self._texts.values() for words, _ in group)


@numba.njit(cache=CACHED)
def _longer(value: np.uint64, word: np.uint64) -> np.uint64:
    """Hash of an n-gram from that of its first n - 1 words; never 0."""
    value = (value ^ word) * _FACTOR
    value ^= value >> _SHIFT
    return value if value != _ZERO else _ONE


@numba.njit(cache=CACHED)
def _insert(words: np.ndarray, longest: int, keys: np.ndarray) -> None:
    for begin in range(len(words)):
        value = _BEGIN
        for place in range(begin, min(begin + longest, len(words))):
            value = _longer(value, words[place])
            insert(keys, value)


@numba.njit(cache=CACHED)
def _mark(words: np.ndarray, row: int, longest: int, table: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    keys, first, others = table
    for begin in range(len(words)):
        value = _BEGIN
        for place in range(begin, min(begin + longest, len(words))):
            value = _longer(value, words[place])
            slot = slot_of(keys, value)
            if slot < 0:
                break  # a text with a longer n-gram would contain this one, too
            if first[slot] < 0:
                first[slot] = row
            elif first[slot] != row:
                others[slot] = True


@numba.njit(cache=CACHED)
def _count(
    words: np.ndarray, own: int, longest: int, seen: np.ndarray, table: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> np.ndarray:
    keys, first, others = table
    result = np.zeros((longest, 2), np.int64)
    for begin in range(len(words)):
        value = _BEGIN
        for size in range(min(longest, len(words) - begin)):
            value = _longer(value, words[begin + size])
            if insert(seen, value):
                slot = slot_of(keys, value)
                result[size, 0] += not others[slot] and first[slot] in (-1, own)
                result[size, 1] += 1
    return result


@numba.njit(cache=CACHED)
def _novel_words(words: np.ndarray, own: int, table: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    keys, first, others = table
    result = np.ones(len(words), np.bool_)
    for place in range(len(words)):
        slot = slot_of(keys, _longer(_BEGIN, words[place]))
        result[place] = slot < 0 or (not others[slot] and first[slot] in (-1, own))
    return result
