"""When there is a tree, and when a sample decides how far it is searched."""

from __future__ import annotations

import pytest

from megatron_sbp.pairing.neighbors.scann_plan import plan
from megatron_sbp.pairing.neighbors.scann_tree import FEW_DOCUMENTS, has_tree, is_tuned
from megatron_sbp.recipe import Neighbors


@pytest.mark.parametrize(
    ("documents", "settings", "tree", "tuned"),
    [
        (FEW_DOCUMENTS - 1, {}, False, False),
        (FEW_DOCUMENTS, {}, True, True),
        (100, {"leaves": 5}, True, True),
        (FEW_DOCUMENTS, {"leaves_to_search": 3}, True, False),
        (FEW_DOCUMENTS, {"engine": "exact"}, True, False),
    ],
)
def test_the_recipe_and_the_number_of_documents_decide(documents, settings, tree, tuned):
    asked = Neighbors(**{"k": 10, "engine": "scann", **settings})
    assert (has_tree(documents, asked), is_tuned(documents, asked)) == (tree, tuned)
    assert (plan(documents, 8, asked, seed=1).leaves > 0) is tree, "what is built is what was said"
