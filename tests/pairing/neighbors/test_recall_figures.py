"""Recall above a similarity, of real neighbors and of counts."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.pairing.neighbors.exact import nearest
from megatron_sbp.pairing.neighbors.recall import measure
from megatron_sbp.pairing.neighbors.recall_figures import EDGES, recall_above


def test_recall_above_a_similarity(save_vectors, helpers):
    """All neighbors that are less similar than 0.5 are left out: above it the recall is 1."""
    vectors = save_vectors([helpers.unit_vectors(300, 16, clusters=30)])
    rows = np.arange(300)
    ids, scores = nearest(vectors.take(rows), rows, vectors, 20)
    found = np.where(scores >= 0.5, ids, -1)
    measured = measure(found, rows, vectors, "cpu")
    by_similarity = measured.by_similarity()
    assert 0.05 < measured.at_k == (scores >= 0.5).mean() < 0.95
    assert recall_above(by_similarity, 0.5) == recall_above(by_similarity, 0.9) == 1.0
    assert recall_above(by_similarity, -1) == pytest.approx(measured.at_k)
    below = (scores >= np.float32(0.3)).sum()
    assert recall_above(by_similarity, 0.3) == pytest.approx((scores >= 0.5).sum() / below, abs=0.01)
    assert recall_above(by_similarity, 1.01) is None and recall_above(None, 0.5) is None


def test_the_hundredth_that_begins_at_the_similarity_counts():
    """Of 200 hundredths only those of 0.61 and 0.62 have neighbors."""
    neighbors, found = np.zeros(200, int), np.zeros(200, int)
    place = EDGES.tolist().index(0.61)
    neighbors[place], neighbors[place + 1] = 10, 30
    found[place], found[place + 1] = 5, 30
    told = {"edges": EDGES.tolist(), "neighbors": neighbors.tolist(), "found": found.tolist()}
    assert [recall_above(told, alpha) for alpha in (0.3, 0.61, 0.62, 0.63)] == [35 / 40, 35 / 40, 1.0, None]
    # An alpha inside a hundredth counts from the next one on.
    assert recall_above(told, 0.615) == 1.0 and recall_above(told, None) is None
