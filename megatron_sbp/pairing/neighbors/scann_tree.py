"""When ScaNN searches a tree, and when a sample decides how far: from the recipe and the number of documents alone."""

from __future__ import annotations

from megatron_sbp.recipe import Neighbors

FEW_DOCUMENTS = 2000
"""Below this a tree does not pay: ScaNN scores all documents instead (unless the recipe sets `leaves`)."""


def has_tree(documents: int, settings: Neighbors) -> bool:
    """Whether there are partitions to search."""
    return settings.leaves is not None or documents >= FEW_DOCUMENTS


def is_tuned(documents: int, settings: Neighbors) -> bool:
    """Whether a sample decides how far a query looks: there is a tree, and the recipe leaves it open."""
    return settings.engine == "scann" and has_tree(documents, settings) and settings.leaves_to_search is None
