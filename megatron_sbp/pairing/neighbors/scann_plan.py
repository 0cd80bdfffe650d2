"""The size and shape of a ScaNN index, decided before anything is built."""

from __future__ import annotations

from dataclasses import dataclass

from megatron_sbp.base.errors import InputError
from megatron_sbp.pairing.neighbors.scann_tree import has_tree
from megatron_sbp.pairing.neighbors.scores import MARGIN
from megatron_sbp.recipe import Neighbors


@dataclass(frozen=True)
class ScannPlan:
    """What an index is built from. `leaves` 0 means ScaNN's brute force. Where the recipe leaves leaves_to_search
    open, a query looks as far as `scann_tuning` finds."""

    documents: int
    dimensions: int
    candidates: int
    leaves: int
    leaves_to_search: int
    reorder: int
    seed: int

    @property
    def method(self) -> str:
        """For the audit."""
        return "tree, asymmetric hashing, reordering" if self.leaves else "brute force"


def plan(documents: int, dimensions: int, settings: Neighbors, seed: int) -> ScannPlan:
    """The numbers that the recipe leaves open.

    Raises:
        InputError: more leaves than documents, or more leaves to search than leaves.
    """
    candidates = min(settings.k + 1 + MARGIN, documents)
    if not has_tree(documents, settings):
        return ScannPlan(documents, dimensions, candidates, 0, 0, 0, seed)
    leaves = settings.leaves or max(1, round(documents**0.5))
    if leaves > documents:
        raise InputError(f"{leaves:,} leaves for {documents:,} documents", key="neighbors.leaves")
    to_search = settings.leaves_to_search or max(1, leaves // 4)
    if settings.leaves is None:  # a small split, such as valid, has few: then all of them
        to_search = min(to_search, leaves)
    if to_search > leaves:
        raise InputError(f"{to_search:,} is more than the {leaves:,} leaves", key="neighbors.leaves_to_search")
    reorder = max(settings.reorder or max(4 * settings.k, 100), candidates)
    return ScannPlan(documents, dimensions, candidates, leaves, to_search, min(reorder, documents), seed)
