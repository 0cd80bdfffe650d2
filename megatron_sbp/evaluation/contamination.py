"""How many items of the evaluation stand in real and in synthetic text, all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.base.progress import Progress
from megatron_sbp.overlap.contamination import LONGEST, SHORTEST, ItemIndex


class Contamination:
    """Which items stand in which group of texts.

    Args:
        items: texts of the items by kind.
    """

    def __init__(self, items: Mapping[str, Sequence[str]]):
        self._index = ItemIndex(items)
        self._found: dict[str, np.ndarray] = {}
        self._texts: dict[str, int] = {}

    def look(self, group: str, text: str) -> None:
        """Looks for all items in a text of a group."""
        found = self._index.found(text)
        self._found.setdefault(group, np.zeros(len(self._index), np.bool_))[found] = True
        self._texts[group] = self._texts.get(group, 0) + (len(found) > 0)

    def look_at_all(self, group: str, shards: Sequence[Path], count: int) -> None:
        """Looks for all items in every text of the shards of a group, `count` of them."""
        with Progress(f"quality: evaluation items in {group}", count, "documents") as progress:
            for shard in shards:
                for row in files.read_jsonl_zst(shard):
                    self.look(group, row["text"])
                    progress.advance()

    def figures(self) -> dict[str, Any]:
        """`items` and `too_short` (not looked for) by kind; by group `found`, items by kind that stand in any of its
        texts, and `texts`, how many texts hold an item; `words`: those of an n-gram, longest and shortest."""
        return {
            "items": {kind: len(rows) for kind, rows in self._index.groups.items()},
            "too_short": self._index.too_short,
            "found": {group: self._index.counts(found) for group, found in self._found.items()},
            "texts": self._texts,
            "words": [LONGEST, SHORTEST],
        }
