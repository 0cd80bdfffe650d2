"""How many items of the evaluation occur in all of the real and of the synthetic text."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.evaluation.shard_reading import Shard
from megatron_sbp.overlap.contamination import LONGEST, SHORTEST, Item, ItemIndex


class Contamination:
    """Which items occur in which group of texts.

    Args:
        items: the items by kind, each a text or a tuple of its forms.
    """

    def __init__(self, items: Mapping[str, Sequence[Item]]):
        self._index = ItemIndex(items)
        self._found: dict[str, np.ndarray] = {}
        self._texts: dict[str, int] = {}

    def __len__(self) -> int:
        """Items that are looked for."""
        return len(self._index)

    @property
    def bytes(self) -> int:
        """Memory of the items."""
        return self._index.bytes

    def look(self, group: str, text: str) -> None:
        """Looks for all items in a text of a group."""
        found = self._index.found(text)
        self._found.setdefault(group, np.zeros(len(self._index), np.bool_))[found] = True
        self._texts[group] = self._texts.get(group, 0) + (len(found) > 0)

    def without_findings(self) -> Contamination:
        """The same items, looked for in nothing yet."""
        other = copy.copy(self)
        other._found, other._texts = {}, {}
        return other

    def found(self) -> tuple[dict[str, np.ndarray], dict[str, int]]:
        """Everything that was noted, for `absorb`."""
        return self._found, self._texts

    def absorb(self, found: tuple[dict[str, np.ndarray], dict[str, int]]) -> None:
        """Notes what another process, with the same items, has found in other texts."""
        for group, rows in found[0].items():
            self._found.setdefault(group, np.zeros(len(self._index), np.bool_))[rows] = True
        for group, count in found[1].items():
            self._texts[group] = self._texts.get(group, 0) + count

    def figures(self) -> JsonObject:
        """`items` and `too_short` (not looked for) by kind; by group `found`, items by kind that occur in any of its
        texts, and `texts`, how many texts hold an item; `words`: those of an n-gram, longest and shortest."""
        return {
            "items": {kind: len(rows) for kind, rows in self._index.groups.items()},
            "too_short": self._index.too_short,
            "found": {group: self._index.counts(found) for group, found in self._found.items()},
            "texts": self._texts,
            "words": [LONGEST, SHORTEST],
        }


@dataclass
class ItemsIn:
    """Looks for items in all texts of a group.

    Attributes:
        items: to look for; notes what is found.
        group: of the texts.
    """

    items: Contamination
    group: str

    @property
    def bytes(self) -> int:
        """See `Reading.bytes`."""
        return self.items.bytes

    def read(self, shard: Shard) -> Iterator[None]:
        """See `Reading.read`."""
        for row in files.read_jsonl_zst(shard.file):
            self.items.look(self.group, row["text"])
            yield

    def found(self) -> tuple[dict[str, np.ndarray], dict[str, int]]:
        """See `Reading.found`."""
        return self.items.found()

    def absorb(self, found: tuple[dict[str, np.ndarray], dict[str, int]]) -> None:
        """See `Reading.absorb`."""
        self.items.absorb(found)
