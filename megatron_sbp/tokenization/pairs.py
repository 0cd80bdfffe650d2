"""Pairs of documents to a dataset with two sequences per document: the seed, then the target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from megatron_sbp.tokenization.cutting import cut_tokens
from megatron_sbp.tokenization.indexed import IndexedTokens, write_indexed

_BATCH = 4096


@dataclass(frozen=True)
class PairLimits:
    """How long the halves of a pair may be, in tokens; end-of-document not counted."""

    max_seed_tokens: int
    max_target_tokens: int
    seed_cut: Literal["head", "tail"]
    """Which end of a long seed is cut away; a target always loses its tail."""


@dataclass
class PairCounts:
    """What went into a dataset of pairs."""

    pairs: int = 0
    seed_tokens: int = 0
    target_tokens: int = 0
    """End-of-document tokens included."""
    seeds_cut: int = 0
    targets_cut: int = 0

    def to_dict(self) -> dict[str, int | float]:
        """For an audit, with the mean length of a target."""
        return {**self.__dict__, "mean_target_tokens": self.target_tokens / self.pairs if self.pairs else 0.0}


def write_pairs(
    prefix: Path,
    documents: IndexedTokens,
    seeds: np.ndarray,
    targets: np.ndarray,
    limits: PairLimits,
    starts_character: np.ndarray,
    end_of_document: int,
    advance: Callable[[int], None] | None = None,
) -> PairCounts:
    """Writes PREFIX.bin and PREFIX.idx: per pair one document of two sequences.

    The seed is cut to its limit and carries no end-of-document. The target is cut to its limit and carries
    end-of-document only when nothing was cut off, so that a model learns to end a text only where it ends. No cut falls
    inside a UTF-8 character. The separator is not stored.

    Args:
        prefix: of the dataset.
        documents: tokens of the documents, one sequence each.
        seeds: rows of the documents, int64 [pairs]; `targets` likewise.
        limits: see there.
        starts_character: `TextTokenizer.starts_character`.
        end_of_document: id; where it stands at the end of a document it does not count as one of its tokens.
        advance: called with the number of pairs done since the last call.
    """
    counts = PairCounts()
    seed_of = _Halves(documents, limits.max_seed_tokens, limits.seed_cut, starts_character, end_of_document)
    target_of = _Halves(documents, limits.max_target_tokens, "tail", starts_character, end_of_document)
    with write_indexed(prefix, documents.tokens.dtype.type) as writer:
        for begin in range(0, len(seeds), _BATCH):
            seed_starts, seed_lengths, seeds_cut = seed_of(seeds[begin : begin + _BATCH])
            target_starts, target_lengths, targets_cut = target_of(targets[begin : begin + _BATCH])
            whole = (~targets_cut).astype(np.int64)
            size = len(seed_starts)
            # Three pieces per pair: seed, target, end-of-document (gathered from a place of its own, then filled in).
            lengths = np.stack([seed_lengths, target_lengths, whole], axis=1)
            starts = np.stack([seed_starts, target_starts, np.zeros(size, np.int64)], axis=1)
            tokens = _gather(documents.tokens, starts.ravel(), lengths.ravel())
            tokens[(lengths.sum(axis=1).cumsum() - 1)[whole == 1]] = end_of_document
            sequences = np.stack([seed_lengths, target_lengths + whole], axis=1)
            writer.add(tokens, sequences.ravel(), sequences_per_document=2)
            counts.pairs += size
            counts.seed_tokens += int(sequences[:, 0].sum())
            counts.target_tokens += int(sequences[:, 1].sum())
            counts.seeds_cut += int(seeds_cut.sum())
            counts.targets_cut += int(targets_cut.sum())
            if advance:
                advance(size)
    return counts


class _Halves:
    """Spans of documents cut to a limit."""

    def __init__(self, documents: IndexedTokens, limit: int, cut: Literal["head", "tail"], starts_character, closing):
        self._documents, self._limit, self._cut = documents, limit, cut
        self._starts_character, self._closing = starts_character, closing

    def __call__(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Start in the tokens, length, and whether something was cut off, of each row: int64, int64, bool [rows]."""
        documents = self._documents
        starts = documents.starts[rows].astype(np.int64)
        lengths = documents.lengths[rows].astype(np.int64)
        if documents.tokens.size:
            last = documents.tokens[np.maximum(starts + lengths - 1, 0)]
            lengths = lengths - ((lengths > 0) & (last == self._closing))
        long = lengths > self._limit
        for place in np.flatnonzero(long):  # only these need a look at their characters
            start, length = int(starts[place]), int(lengths[place])
            tokens = documents.tokens[start : start + length]
            kept = cut_tokens(tokens, self._limit, self._starts_character, self._cut)
            if self._cut == "head":
                starts[place] += length - kept.size
            lengths[place] = kept.size
        return starts, lengths, long


def _gather(tokens: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The spans [start, start + length) one after another."""
    ends = lengths.cumsum()
    shift = starts - (ends - lengths)
    return tokens[np.arange(int(ends[-1])) + np.repeat(shift, lengths)]
