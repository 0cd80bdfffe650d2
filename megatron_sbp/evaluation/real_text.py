"""Real documents as quality figures compare them: as long as the synthetic ones, or as one of them can be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from megatron_sbp.base.random_streams import Stream
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.evaluation.sheet import Sampled, one_per_seed
from megatron_sbp.pairing.document_rows import rows_of
from megatron_sbp.tokenization.indexed import open_indexed
from megatron_sbp.tokenization.tokenizer import TextTokenizer


class RealText:
    """Documents of a split, cut to the length that a synthetic document can have, or to given lengths."""

    def __init__(self, tokens: Path, shards: Sequence[Path], tokenizer: TextTokenizer, limit: int):
        self.tokens = open_indexed(tokens)
        self._shards, self._tokenizer, self._limit = shards, tokenizer, limit

    def read(self, rows: Iterable[int], cut: bool = True) -> Iterator[Sampled]:
        """The documents with the wanted rows, ascending, each once; cut, unless `cut` is false."""
        for row, document in rows_of(self._shards, rows):
            one = Sampled(document["text"], self.tokens[row][:-1], document, row)
            yield one.cut(self._limit, self._tokenizer) if cut else one

    def alike(self, rows: Iterable[int], lengths: Sequence[int]) -> Iterator[Sampled]:
        """The same documents, cut to given lengths, see `matched`; without any to the longest possible.

        Args:
            rows: wanted.
            lengths: of the texts that they are compared with, in tokens.
        """
        ascending = np.unique(np.fromiter(rows, np.int64))
        limits = matched(self.lengths(ascending), lengths)
        for one, limit in zip(self.read(ascending.tolist(), cut=False), limits.tolist(), strict=True):
            yield one.cut(min(limit, self._limit), self._tokenizer)

    def lengths(self, rows: Iterable[int]) -> np.ndarray:
        """Tokens of documents, as far as a synthetic one can have as many: int64 [rows]."""
        whole = self.tokens.lengths[np.fromiter(rows, np.int64)].astype(np.int64) - 1  # without end-of-document
        return np.minimum(whole, self._limit)


def matched(own: np.ndarray, wanted: Sequence[int]) -> np.ndarray:
    """Lengths to cut documents to, so that they are distributed as those of other texts.

    The k-th longest document gets the length of the k-th longest text. So a document is too short for its length only
    where the documents as a whole are shorter than the texts, whatever the order of either.

    Args:
        own: of the documents: int64 [documents].
        wanted: of the texts; where there are more or fewer of them, their quantiles.

    Returns:
        int64 [documents]; `own` where `wanted` is empty.
    """
    if not len(wanted) or not len(own):
        return own
    ordered = np.sort(np.asarray(wanted, np.int64))
    places = (2 * np.arange(len(own)) + 1) * len(ordered) // (2 * len(own))
    found = np.empty(len(own), np.int64)
    found[np.argsort(own, kind="stable")] = ordered[places]
    return found


def with_seeds(sample: Sequence[Sampled]) -> bool:
    """Whether there are texts, all written for a seed document."""
    return bool(sample) and all(one.row["seed_row"] is not None for one in sample)


def real_sample(real: RealText, written: Sequence[Sampled], rows: np.ndarray) -> list[Sampled]:
    """Real text of the seeds and lengths of the synthetic one.

    Args:
        real: documents of D.
        written: synthetic texts.
        rows: of documents to take for texts that were written without seed documents.

    Returns:
        The seed documents, each once, in the order of `one_per_seed`, or the documents with these rows.
    """
    lengths = [len(one.tokens) for one in written]
    if not with_seeds(written):
        return list(real.alike(rows.tolist(), lengths))
    rows_of_seeds = [one.row["seed_row"] for one in one_per_seed(written)]
    found = {one.own: one for one in real.alike(rows_of_seeds, lengths)}
    return [found[row] for row in rows_of_seeds]


class WrittenTexts:
    """Lengths and seed documents of synthetic texts, which are too many to be held themselves.

    Attributes:
        tokens: of every text, without end-of-document.
        seed_rows: rows of D of their seed documents.
    """

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.seed_rows: set[int] = set()

    def noting(self, rows: Iterable[JsonObject]) -> Iterator[JsonObject]:
        """The same rows, noted as they pass."""
        for row in rows:
            self.tokens.append(row["tokens"] - 1)
            if row["seed_row"] is not None:
                self.seed_rows.add(row["seed_row"])
            yield row


def with_seed_rows(drawn: np.ndarray, seed_rows: set[int], seed: int) -> list[int]:
    """As many rows of D as were drawn: the seed documents, each once, and as many of the drawn ones as are missing."""
    others = [row for row in drawn.tolist() if row not in seed_rows]
    random = np.random.default_rng([seed, Stream.DUPLICATES_REAL])
    missing = random.permutation(others)[: len(drawn) - len(seed_rows)]
    return [*seed_rows, *missing.tolist()]
