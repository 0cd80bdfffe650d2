"""The size of a ScaNN index, before anything is built."""

from __future__ import annotations

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.pairing.neighbors.scann_plan import plan
from megatron_sbp.pairing.neighbors.scann_tree import FEW_DOCUMENTS
from megatron_sbp.recipe import Neighbors


def test_few_documents_are_compared_one_by_one():
    found = plan(FEW_DOCUMENTS - 1, 8, Neighbors(k=10), seed=3)
    assert (found.leaves, found.method, found.seed) == (0, "brute force", 3)
    assert plan(FEW_DOCUMENTS, 8, Neighbors(k=10), 3).leaves > 0
    assert plan(100, 8, Neighbors(k=10, leaves=5), 3).leaves == 5  # asked for


def test_a_tree_has_about_the_square_root_of_the_documents():
    found = plan(1_000_000, 8, Neighbors(k=200), 1)
    assert (found.leaves, found.leaves_to_search, found.reorder) == (1000, 250, 800)
    assert found.method.startswith("tree")


@pytest.mark.parametrize("documents", [1, 2, 50, FEW_DOCUMENTS, 10_000])
def test_never_more_candidates_than_documents(documents):
    found = plan(documents, 8, Neighbors(k=5000), 1)
    assert found.candidates <= documents and found.reorder <= documents
    assert found.leaves == 0 or found.reorder >= found.candidates


@pytest.mark.parametrize(
    ("settings", "key"),
    [({"leaves": 101}, "neighbors.leaves"), ({"leaves": 10, "leaves_to_search": 11}, "neighbors.leaves_to_search")],
)
def test_what_cannot_be_is_refused_by_key(settings, key):
    with pytest.raises(InputError) as caught:
        plan(100, 8, Neighbors(k=10, **settings), 1)
    assert caught.value.key == key


def test_a_small_split_has_fewer_leaves_than_are_searched_in_d():
    """As many as the recipe says in D, all of them in the valid split."""
    settings = Neighbors(leaves_to_search=300)
    large, small = (plan(documents, 8, settings, 1) for documents in (2_000_000, 20_000))
    assert (large.leaves, large.leaves_to_search) == (1414, 300)
    assert (small.leaves, small.leaves_to_search) == (141, 141)
