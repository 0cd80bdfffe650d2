"""Real documents as quality figures compare them: no longer than a synthetic document can be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from megatron_sbp.evaluation.sheet import Sampled
from megatron_sbp.pairing.document_rows import rows_of
from megatron_sbp.tokenization.indexed import open_indexed
from megatron_sbp.tokenization.tokenizer import TextTokenizer


class RealText:
    """Documents of a split, cut to the length that a synthetic document can have."""

    def __init__(self, tokens: Path, shards: Sequence[Path], tokenizer: TextTokenizer, limit: int):
        self.tokens = open_indexed(tokens)
        self._shards, self._tokenizer, self._limit = shards, tokenizer, limit

    def read(self, rows: Iterable[int], cut: bool = True) -> Iterator[Sampled]:
        """The documents with the wanted rows, ascending, each once; cut, unless `cut` is false."""
        for row, document in rows_of(self._shards, rows):
            one = Sampled(document["text"], self.tokens[row][:-1], document, row)
            yield one.cut(self._limit, self._tokenizer) if cut else one
