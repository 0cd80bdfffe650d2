"""How much of some texts occurs in a large corpus, in one pass over the corpus and with memory for the texts only."""

from __future__ import annotations

import numpy as np

from megatron_sbp.overlap.ngrams import ngrams
from megatron_sbp.overlap.shingles import shingle_hashes

WORDS = 3
"""Words in an n-gram of the novelty figure."""


def word_ngrams(text: str) -> set[tuple[str, ...]]:
    """Distinct runs of three lower-cased words (split at white space)."""
    return set(ngrams(text.lower().split(), WORDS))


class Overlap:
    """Counts which shingles and word n-grams of some groups of texts occur anywhere in a corpus.

    First `add` the texts, then `look` at every document of the corpus, then ask for `counts`.

    Args:
        shingle_tokens: tokens in a shingle.
    """

    def __init__(self, shingle_tokens: int):
        self._length = shingle_tokens
        self._shingles: dict[str, list[np.ndarray]] = {}
        self._ngrams: dict[str, list[set[tuple[str, ...]]]] = {}
        self._looked: tuple[np.ndarray, np.ndarray, set[tuple[str, ...]]] | None = None

    def add(self, group: str, tokens: np.ndarray, text: str) -> None:
        """Adds a document of a group: its tokens (int [n], without end-of-document) and its text."""
        assert self._looked is None, "texts are added before the corpus is read"
        self._shingles.setdefault(group, []).append(shingle_hashes(tokens, self._length))
        self._ngrams.setdefault(group, []).append(word_ngrams(text))

    def look(self, tokens: np.ndarray, text: str) -> None:
        """Notes what a document of the corpus has: its tokens, without end-of-document, and its text."""
        wanted, found, missing = self._ready()
        present = shingle_hashes(tokens, self._length)
        if len(wanted) and len(present):
            places = np.minimum(np.searchsorted(wanted, present), len(wanted) - 1)
            found[places[wanted[places] == present]] = True
        missing -= word_ngrams(text)

    def found(self) -> tuple[np.ndarray, set[tuple[str, ...]]]:
        """Everything that was noted, for `absorb`."""
        _, found, missing = self._ready()
        return found, missing

    def absorb(self, other: tuple[np.ndarray, set[tuple[str, ...]]]) -> None:
        """Notes what another process, with the same texts, has found in other documents of the corpus."""
        _, found, missing = self._ready()
        found |= other[0]
        missing &= other[1]

    def counts(self) -> dict[str, dict[str, np.ndarray]]:
        """By group `corpus_copying`, shingles that occur in the corpus, and `novel_ngrams`, word 3-grams that do not:
        int64 [documents, 2] each, how many of a document's distinct ones, and how many there are; see `share_of`.
        """
        wanted, found, missing = self._ready()
        return {
            group: {
                "corpus_copying": _counts([(found[np.searchsorted(wanted, part)].sum(), len(part)) for part in parts]),
                "novel_ngrams": _counts([(len(part & missing), len(part)) for part in self._ngrams[group]]),
            }
            for group, parts in self._shingles.items()
        }

    def _ready(self) -> tuple[np.ndarray, np.ndarray, set[tuple[str, ...]]]:
        """Shingles looked for, ascending; which of them were found; the n-grams that were not."""
        if self._looked is None:
            hashes = [part for parts in self._shingles.values() for part in parts]
            wanted = np.unique(np.concatenate(hashes)) if hashes else np.empty(0, np.uint64)
            missing = set().union(*(part for parts in self._ngrams.values() for part in parts))
            self._looked = wanted, np.zeros(len(wanted), bool), missing
        return self._looked


def _counts(pairs: list[tuple[int, int]]) -> np.ndarray:
    return np.array(pairs, np.int64).reshape(-1, 2)


def share_of(counts: np.ndarray) -> float | None:
    """Share over all documents of a group, from what `Overlap.counts` gives; None for a group without any."""
    part, whole = counts.sum(axis=0).tolist()
    return part / whole if whole else None
