"""Writes pairs as a dataset with two sequences per document: the seed, then the target."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from megatron_sbp.tokenization.indexed import IndexedTokens, IndexedWriter, write_indexed
from megatron_sbp.tokenization.truncation import cut_tokens

_BATCH = 1024


@dataclass(frozen=True)
class PairLimits:
    """Maximum lengths of the halves of a pair in tokens, excluding end-of-document."""

    max_seed_tokens: int
    max_target_tokens: int
    seed_cut: Literal["head", "tail"]
    """Truncation side of a long seed; targets are always truncated at the end."""


@dataclass
class PairCounts:
    """Counts of a dataset of pairs."""

    pairs: int = 0
    seed_tokens: int = 0
    target_tokens: int = 0
    """Including end-of-document tokens."""
    seeds_cut: int = 0
    targets_cut: int = 0

    def __iadd__(self, other: PairCounts) -> PairCounts:
        for name, value in other.__dict__.items():
            setattr(self, name, getattr(self, name) + value)
        return self

    def to_dict(self) -> dict[str, int | float]:
        """The counts and the mean target length, for an audit."""
        return {**self.__dict__, "mean_target_tokens": self.target_tokens / self.pairs if self.pairs else 0.0}


class PairWriter:
    """Writes pairs; created by `pair_writer`.

    Attributes:
        counts: of the pairs added so far.
    """

    def __init__(self, writer: IndexedWriter, limits: PairLimits, starts_character: np.ndarray, end_of_document: int):
        self.counts = PairCounts()
        self._writer, self._limits = writer, limits
        self._starts_character, self._closing = starts_character, end_of_document

    def add(self, documents: IndexedTokens, seeds: np.ndarray, targets: np.ndarray) -> None:
        """Appends pairs.

        Args:
            documents: tokens of documents, one sequence each.
            seeds: rows of the documents, int64 [pairs]; `targets` likewise.
        """
        limits, size = self._limits, len(seeds)
        seed_starts, seed_lengths, seeds_cut = self._spans(documents, seeds, limits.max_seed_tokens, limits.seed_cut)
        target_starts, target_lengths, targets_cut = self._spans(documents, targets, limits.max_target_tokens, "tail")
        whole = (~targets_cut).astype(np.int64)
        # Three pieces per pair: seed, target, and one arbitrary token that is overwritten with end-of-document.
        lengths = np.stack([seed_lengths, target_lengths, whole], axis=1)
        starts = np.stack([seed_starts, target_starts, np.zeros(size, np.int64)], axis=1)
        tokens = _gather(documents.tokens, starts.ravel(), lengths.ravel())
        tokens[(lengths.sum(axis=1).cumsum() - 1)[whole == 1]] = self._closing
        sequences = np.stack([seed_lengths, target_lengths + whole], axis=1)
        self._writer.add(tokens, sequences.ravel(), sequences_per_document=2)
        counts = self.counts
        counts.pairs += size
        counts.seed_tokens += int(sequences[:, 0].sum())
        counts.target_tokens += int(sequences[:, 1].sum())
        counts.seeds_cut += int(seeds_cut.sum())
        counts.targets_cut += int(targets_cut.sum())

    def _spans(
        self, documents: IndexedTokens, rows: np.ndarray, limit: int, cut: Literal["head", "tail"]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Start in the tokens, length, and whether the row was truncated, for each row: int64, int64, bool [rows]."""
        starts = documents.starts_of(rows)
        lengths = documents.lengths[rows].astype(np.int64)
        if documents.tokens.size:
            last = documents.tokens[np.maximum(starts + lengths - 1, 0)]
            lengths = lengths - ((lengths > 0) & (last == self._closing))
        long = lengths > limit
        for place in np.flatnonzero(long):  # only these need a check of character boundaries
            start, length = int(starts[place]), int(lengths[place])
            kept = cut_tokens(documents.tokens[start : start + length], limit, self._starts_character, cut)
            if cut == "head":
                starts[place] += length - kept.size
            lengths[place] = kept.size
        return starts, lengths, long


@contextlib.contextmanager
def pair_writer(
    prefix: Path, dtype: type[np.number], limits: PairLimits, starts_character: np.ndarray, end_of_document: int
) -> Iterator[PairWriter]:
    """Writes PREFIX.bin and PREFIX.idx: per pair one document of two sequences.

    The seed is truncated to its limit, without end-of-document. The target is truncated to its limit and gets
    end-of-document only if it was not truncated, so the model learns to end a text only at its true end. UTF-8
    characters are never split. The separator is not stored.

    Args:
        prefix: of the dataset.
        dtype: of its tokens.
        limits: of both halves.
        starts_character: `TextTokenizer.starts_character`.
        end_of_document: id; at the end of a document, it is not counted as one of its tokens.
    """
    with write_indexed(prefix, dtype) as writer:
        yield PairWriter(writer, limits, starts_character, end_of_document)


def write_pairs(
    prefix: Path,
    documents: IndexedTokens,
    seeds: np.ndarray,
    targets: np.ndarray,
    *,
    limits: PairLimits,
    starts_character: np.ndarray,
    end_of_document: int,
    advance: Callable[[int], None] | None = None,
) -> PairCounts:
    """Writes pairs of rows of a dataset; see `pair_writer` and `PairWriter.add`.

    Args:
        advance: called with the number of pairs done since the last call.
    """
    with pair_writer(prefix, documents.tokens.dtype.type, limits, starts_character, end_of_document) as writer:
        for begin in range(0, len(seeds), _BATCH):
            batch = slice(begin, begin + _BATCH)
            writer.add(documents, seeds[batch], targets[batch])
            if advance:
                advance(len(seeds[batch]))
    return writer.counts


def _gather(tokens: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The concatenated spans [start, start + length)."""
    ends = lengths.cumsum()
    shift = starts - (ends - lengths)
    return tokens[np.arange(int(ends[-1])) + np.repeat(shift, lengths)]
