from __future__ import annotations

import numpy as np

from megatron_sbp.pairing.neighbors.scores import best, inner_products


def test_inner_products_are_those_of_float64(save_vectors, helpers):
    rows = helpers.unit_vectors(70, 33)
    vectors = save_vectors([rows[:30], rows[30:31], rows[31:]])
    random = np.random.default_rng(0)
    ids = random.integers(-1, 70, (12, 9))
    queries = vectors.take(np.arange(12))
    scores = inner_products(queries, ids, vectors)
    expected = (rows[:12, None].astype(float) * rows[ids].astype(float)).sum(-1).astype(np.float32)
    np.testing.assert_array_equal(scores, np.where(ids < 0, np.float32(-2), expected))


def test_both_directions_score_the_same(save_vectors, helpers):
    vectors = save_vectors([helpers.unit_vectors(40, 384)])
    rows = vectors.read(0)
    scores = inner_products(rows, np.tile(np.arange(40), (40, 1)), vectors)
    np.testing.assert_array_equal(scores, scores.T)


def test_best_sorts_breaks_ties_by_id_and_pads():
    ids = np.array([[7, 3, -1, 5, 9], [-1, -1, -1, 2, -1]])
    scores = np.array([[0.5, 0.9, -2, 0.5, 0.5], [-2, -2, -2, -1, -2]], np.float32)
    found, values = best(ids, scores, 3)
    assert found.tolist() == [[3, 5, 7], [2, -1, -1]] and found.dtype == np.int64
    np.testing.assert_array_equal(values, np.array([[0.9, 0.5, 0.5], [-1, -2, -2]], np.float32))
    found, values = best(ids, scores, 7)
    assert found.tolist() == [[3, 5, 7, 9, -1, -1, -1], [2, -1, -1, -1, -1, -1, -1]]
    assert values[:, -1].tolist() == [-2, -2]


def test_best_against_a_sort():
    random = np.random.default_rng(1)
    ids = random.permuted(np.tile(np.arange(2**32 - 900, 2**32 - 860), (50, 1)), axis=1).astype(np.int64)
    scores = np.round(random.standard_normal((50, 40)), 1).astype(np.float32)  # with ties and both zeros
    found, values = best(ids, scores, 25)
    order = np.lexsort((ids, -scores), axis=1)[:, :25]
    np.testing.assert_array_equal(found, np.take_along_axis(ids, order, 1))
    np.testing.assert_array_equal(values, np.take_along_axis(scores, order, 1))
