"""Checks whether the generated tokens equal the tokenization of their text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.tokenization.tokenizer import TextTokenizer
from megatron_sbp.tokenization.written_ids import FIELD, ids_of_text, unpack_ids

UNKNOWN, SAME, DIFFERENT = -1, 0, 1
"""Result for a text: unknown if its row has no ids or those of another text; otherwise, whether retokenizing it gives
the generated ids."""


def compare_ids(row: JsonObject, again: Sequence[int] | np.ndarray, tokenizer: TextTokenizer) -> tuple[int, int]:
    """Compares the ids in a row with those of its text.

    Args:
        row: a raw generation.
        again: the tokenizer's ids for its text.
        tokenizer: the one used for training.

    Returns:
        UNKNOWN, SAME, or DIFFERENT, and the number of tokens for training, without end-of-document: the generated ones,
        or, if unknown, those of the text.
    """
    ids = unpack_ids(row.get(FIELD))
    if ids is not None and np.array_equal(ids, again):
        return SAME, len(ids)
    # Only these few are decoded, to distinguish another encoding of the same text from ids of another text.
    ids = ids_of_text(row.get(FIELD), row["text"], tokenizer)
    return (UNKNOWN, len(again)) if ids is None else (DIFFERENT, len(ids))


@dataclass
class RetokenizedCounts:
    """Texts that were compared, and those among them whose tokens differ; of all, and of those that were kept."""

    documents: int = 0
    differing: int = 0
    kept: int = 0
    kept_differing: int = 0

    def add(self, state: int, kept: bool) -> None:
        """Counts a text: what is known of it, and whether it was kept."""
        if state != UNKNOWN:
            self.documents += 1
            self.differing += state == DIFFERENT
            self.kept += kept
            self.kept_differing += kept and state == DIFFERENT

    def join(self, part: dict[str, int]) -> None:
        """Adds the counts of another shard."""
        for name, count in part.items():
            setattr(self, name, getattr(self, name) + count)

    def summary(self) -> dict[str, float]:
        """The counts with `share`, of all, and `kept_share`."""
        shares = {
            "share": self.differing / max(1, self.documents),
            "kept_share": self.kept_differing / max(1, self.kept),
        }
        return {**self.__dict__, **shares}
