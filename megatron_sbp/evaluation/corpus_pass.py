"""One pass over all of D for everything that the quality sheet looks up in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.evaluation.contamination import Contamination
from megatron_sbp.evaluation.shard_reading import Shard
from megatron_sbp.overlap.ngram_novelty import NgramNovelty
from megatron_sbp.overlap.novelty import Overlap
from megatron_sbp.tokenization.indexed import open_indexed

if TYPE_CHECKING:
    import numpy as np

type Found = tuple[
    tuple[np.ndarray, np.ndarray],
    tuple[np.ndarray, np.ndarray, np.ndarray],
    tuple[dict[str, np.ndarray], dict[str, int]] | None,
]
"""What `Overlap`, `NgramNovelty` and `Contamination` found; None without items."""


@dataclass
class CorpusPass:
    """What is looked for in D, and found. All of it is small: it follows from the texts compared, not from D.

    Attributes:
        tokens: prefix of D's IndexedDataset: one sequence per document, closed by end-of-document.
        overlap: shingles and word 3-grams.
        novelty: word n-grams.
        items: of the evaluation; None looks for none.
    """

    tokens: Path
    overlap: Overlap
    novelty: NgramNovelty
    items: Contamination | None

    @property
    def bytes(self) -> int:
        """See `Reading.bytes`."""
        return self.overlap.bytes + self.novelty.bytes + (0 if self.items is None else self.items.bytes)

    def read(self, shard: Shard) -> Iterator[None]:
        """See `Reading.read`; raises InputError for a shard with fewer documents than ids."""
        assert shard.first_row is not None and shard.count is not None, "rows are needed"
        indexed, row = open_indexed(self.tokens), shard.first_row
        for document in files.read_jsonl_zst(shard.file):
            self.overlap.look(indexed[row][:-1], document["text"])
            self.novelty.look(row, document["text"])
            if self.items is not None:
                self.items.look("real", document["text"])
            row += 1
            yield
        if row != shard.first_row + shard.count:
            raise InputError(
                f"has {row - shard.first_row:,} documents, and {shard.count:,} ids; `sbp verify` shows what changed",
                file=shard.file,
            )

    def found(self) -> Found:
        """See `Reading.found`."""
        return self.overlap.found(), self.novelty.found(), None if self.items is None else self.items.found()

    def absorb(self, found: Found) -> None:
        """See `Reading.absorb`."""
        self.overlap.absorb(found[0])
        self.novelty.absorb(found[1])
        if self.items is not None:
            assert found[2] is not None
            self.items.absorb(found[2])
