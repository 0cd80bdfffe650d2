"""Measures how much of given texts occurs in a large corpus, in one pass over it and with memory for the texts only."""

from __future__ import annotations

import numpy as np

from megatron_sbp.overlap.near_duplicates import WordHashes
from megatron_sbp.overlap.shingles import shingle_hashes

WORDS = 3
"""N-gram length of the novelty metric in words."""


class Overlap:
    """Counts the shingles and word n-grams of groups of texts that occur in a corpus.

    First `add` the texts, then `look` at every document of the corpus, then ask for `counts`. Shingles and n-grams are
    hashed to 64 bits: two different ones are confused with probability 2^-64 each.

    Args:
        shingle_tokens: tokens in a shingle.
    """

    def __init__(self, shingle_tokens: int):
        self._length = shingle_tokens
        self._words = WordHashes()
        self._texts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        self._looked: tuple[_Wanted, _Wanted] | None = None

    @property
    def bytes(self) -> int:
        """Memory in bytes of all added texts, and of the hashes to look up."""
        return sum(17 * len(part) for texts in self._texts.values() for both in texts for part in both)

    def add(self, group: str, tokens: np.ndarray, text: str) -> None:
        """Adds a document of a group: its tokens (int [n], without end-of-document) and its text."""
        assert self._looked is None, "texts are added before the corpus is read"
        self._texts.setdefault(group, []).append(self._hashes(tokens, text))

    def look(self, tokens: np.ndarray, text: str) -> None:
        """Records the contents of a corpus document: its tokens, without end-of-document, and its text."""
        for wanted, present in zip(self._ready(), self._hashes(tokens, text), strict=True):
            wanted.look(present)

    def found(self) -> tuple[np.ndarray, np.ndarray]:
        """Everything recorded, for `absorb`."""
        shingles, ngrams = self._ready()
        return shingles.found, ngrams.found

    def absorb(self, found: tuple[np.ndarray, np.ndarray]) -> None:
        """Adds the findings of another process, with the same texts, in other documents of the corpus."""
        for wanted, other in zip(self._ready(), found, strict=True):
            wanted.found |= other

    def counts(self) -> dict[str, dict[str, np.ndarray]]:
        """By group `corpus_copying`, shingles that occur in the corpus, and `novel_ngrams`, word 3-grams that do not:
        int64 [documents, 2] each, the number among a document's distinct ones, and the number of distinct ones; see
        `share_of`.
        """
        wanted_shingles, wanted_ngrams = self._ready()
        return {
            group: {
                "corpus_copying": _counts([(wanted_shingles.count(part), len(part)) for part, _ in texts]),
                "novel_ngrams": _counts([(len(part) - wanted_ngrams.count(part), len(part)) for _, part in texts]),
            }
            for group, texts in self._texts.items()
        }

    def _hashes(self, tokens: np.ndarray, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Distinct shingles, and runs of three lowercased words (split at white space): uint64, ascending."""
        words = self._words.of(text)
        ngrams = shingle_hashes(words, WORDS) if len(words) >= WORDS else np.empty(0, np.uint64)
        return shingle_hashes(tokens, self._length), ngrams

    def _ready(self) -> tuple[_Wanted, _Wanted]:
        """Shingles and n-grams to look up."""
        if self._looked is None:
            texts = [both for found in self._texts.values() for both in found]
            self._looked = _Wanted([part for part, _ in texts]), _Wanted([part for _, part in texts])
        return self._looked


class _Wanted:
    """Hashes to look up: `values`, uint64 ascending, and whether each was `found`, bool."""

    def __init__(self, parts: list[np.ndarray]):
        self.values = np.unique(np.concatenate([np.empty(0, np.uint64), *parts]))
        self.found = np.zeros(len(self.values), bool)

    def look(self, present: np.ndarray) -> None:
        if len(self.values) and len(present):
            places = np.minimum(np.searchsorted(self.values, present), len(self.values) - 1)
            self.found[places[self.values[places] == present]] = True

    def count(self, part: np.ndarray) -> int:
        """Number of the given hashes that were found."""
        return int(self.found[np.searchsorted(self.values, part)].sum())


def _counts(pairs: list[tuple[int, int]]) -> np.ndarray:
    return np.array(pairs, np.int64).reshape(-1, 2)


def share_of(counts: np.ndarray) -> float | None:
    """Share over all documents of a group, from the result of `Overlap.counts`; None for a group without any."""
    part, whole = counts.sum(axis=0).tolist()
    return part / whole if whole else None
