from __future__ import annotations

import numpy as np

from megatron_sbp.pairing.neighbors.exact import nearest
from megatron_sbp.pairing.neighbors.recall import in_float64, measure, recall, sample_rows
from megatron_sbp.pairing.neighbors.scores import best


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
    assert measure(ids, rows, vectors, "cpu").at_k == 1
    ids[:, 7:] = -1
    for device in ("cpu", None):
        assert measure(ids, rows, vectors, device).at_k == 0.7


def test_products_in_float64_give_the_neighbors_of_the_exact_engine(save_vectors, helpers, monkeypatch):
    monkeypatch.setattr("megatron_sbp.pairing.neighbors.recall._TILE", 37)
    vectors = save_vectors(np.split(helpers.unit_vectors(300, 48, clusters=20), [80, 81]))
    rows = sample_rows(300, 60, seed=1)
    for k in (7, 320):
        for mine, theirs in zip(
            in_float64(rows, vectors, k), nearest(vectors.take(rows), rows, vectors, k), strict=True
        ):
            np.testing.assert_array_equal(mine, theirs)


def test_of_a_later_tile_only_what_is_better_is_sorted(save_vectors, helpers, monkeypatch):
    monkeypatch.setattr("megatron_sbp.pairing.neighbors.recall._TILE", 100)
    vectors = save_vectors([np.repeat(helpers.unit_vectors(1000, 16), 3, axis=0)])  # equal scores, by ascending id
    sorted_columns = []

    def counted(ids, scores, k):
        sorted_columns.append(ids.shape[1] - k)
        return best(ids, scores, k)

    monkeypatch.setattr("megatron_sbp.pairing.neighbors.recall.best", counted)
    rows = sample_rows(3000, 3, seed=1)
    for mine, theirs in zip(in_float64(rows, vectors, 5), nearest(vectors.take(rows), rows, vectors, 5), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert sum(sorted_columns) < 500  # of 3,000
