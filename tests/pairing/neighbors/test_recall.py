from __future__ import annotations

import numpy as np

from megatron_sbp.pairing.neighbors.exact import nearest
from megatron_sbp.pairing.neighbors.recall import measure, recall, sample_rows


def test_recall_counts_hits():
    exact = np.array([[1, 2, 3, 4], [5, 6, -1, -1]])
    assert recall(exact, exact) == 1
    assert recall(exact[:, ::-1], exact) == 1
    assert recall(np.array([[1, 2, 9, -1], [6, 7, 8, 9]]), exact) == 3 / 6
    assert recall(np.full((2, 4), -1), exact) == 0


def test_sample():
    rows = sample_rows(1000, 50, seed=1)
    assert len(set(rows.tolist())) == 50 and (np.diff(rows) > 0).all() and rows[0] >= 0 and rows[-1] < 1000
    assert not np.array_equal(rows, sample_rows(1000, 50, seed=2))
    assert sample_rows(30, 50, seed=1).tolist() == list(range(30))
    assert sample_rows(30, 0, seed=1).size == 0


def test_measured_against_exact_neighbors(save_vectors, helpers):
    vectors = save_vectors(np.split(helpers.unit_vectors(200, 16), [80]))
    rows = sample_rows(200, 40, seed=1)
    ids, _ = nearest(vectors.take(rows), rows, vectors, 10)
    assert measure(ids, rows, vectors, "cpu") == 1
    ids[:, 7:] = -1
    assert measure(ids, rows, vectors, "cpu") == 0.7
