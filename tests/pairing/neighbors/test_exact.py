from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch

from megatron_sbp.base.errors import InputError
from megatron_sbp.pairing.neighbors import exact
from megatron_sbp.pairing.neighbors.exact import nearest
from megatron_sbp.pairing.neighbors.products import by_numpy, by_torch
from megatron_sbp.pairing.neighbors.vectors import Vectors


def brute_force(rows: np.ndarray, own: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """By numpy, in float64, one query after another."""
    wide = rows.astype(float)
    ids, scores = np.full((len(own), k), -1), np.full((len(own), k), -2, np.float32)
    for place, row in enumerate(own):
        values = (wide[row] * wide).sum(axis=1).astype(np.float32)
        order = [int(i) for i in np.lexsort((np.arange(len(rows)), -values)) if i != row][:k]
        ids[place, : len(order)], scores[place, : len(order)] = order, values[order]
    return ids, scores


def check(vectors: Vectors, rows: np.ndarray, k: int, own: np.ndarray | None = None) -> None:
    own = np.arange(len(rows)) if own is None else own
    ids, scores = nearest(vectors.take(own), own, vectors, k)
    expected_ids, expected_scores = brute_force(rows, own, k)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_array_equal(scores, expected_scores)
    assert ids.dtype == np.int64 and scores.dtype == np.float32


@pytest.fixture(params=[(7, 13), (1024, 8192)], ids=["small tiles", "one tile"])
def tiles(request, monkeypatch):
    monkeypatch.setitem(exact._TILES, "cpu", request.param)


@pytest.mark.parametrize("cuts", [[], [60], [1, 2, 90]])
def test_against_numpy(tiles, save_vectors, helpers, cuts):
    rows = helpers.unit_vectors(150, 24, clusters=6)
    check(save_vectors(np.split(rows, cuts)), rows, 20)


def test_a_part_of_the_documents_asks(tiles, save_vectors, helpers):
    rows = helpers.unit_vectors(90, 24, clusters=6)
    check(save_vectors(np.split(rows, [40])), rows, 5, own=np.array([3, 39, 40, 88]))


@pytest.mark.parametrize("documents", [1, 2, 10, 26, 27])
def test_fewer_documents_than_neighbors(tiles, save_vectors, helpers, documents):
    rows = helpers.unit_vectors(documents, 8)
    vectors = save_vectors([rows])
    check(vectors, rows, 10)
    ids, scores = nearest(vectors.read(0), np.arange(documents), vectors, 10)
    assert ((ids >= 0).sum(axis=1) == min(10, documents - 1)).all()
    assert (scores[ids < 0] == -2).all()


def test_ties_go_to_the_lower_row(tiles, save_vectors, helpers):
    """More equal vectors than any margin holds, spread over tiles and files."""
    rows = helpers.unit_vectors(3, 16)[np.random.default_rng(1).integers(0, 3, 240)]
    check(save_vectors(np.split(rows, [50, 51, 170])), rows, 12)


def test_all_equal(save_vectors, helpers):
    rows = np.repeat(helpers.unit_vectors(1, 16), 300, axis=0)
    ids, _ = nearest(rows[:40].astype(np.float32), np.arange(40), save_vectors([rows]), 4)
    assert ids[0].tolist() == [1, 2, 3, 4] and ids[2].tolist() == [0, 1, 3, 4] and ids[39].tolist() == [0, 1, 2, 3]


def test_files_and_tiles_change_no_bit(save_vectors, helpers, monkeypatch):
    rows = helpers.unit_vectors(600, 384, clusters=10)
    whole = nearest(rows.astype(np.float32), np.arange(600), save_vectors([rows]), 30)
    monkeypatch.setitem(exact._TILES, "cpu", (64, 50))
    parts = nearest(rows.astype(np.float32), np.arange(600), save_vectors(np.split(rows, [33, 400])), 30)
    np.testing.assert_array_equal(whole[0], parts[0])
    np.testing.assert_array_equal(whole[1], parts[1])


@pytest.mark.parametrize("product", [by_numpy, by_torch])
@pytest.mark.parametrize("threads", [1, 3, 8])
def test_threads_and_library_change_no_neighbor(tiles, save_vectors, helpers, monkeypatch, product, threads):
    @contextlib.contextmanager
    def chosen(dimensions: int):
        yield product, threads

    monkeypatch.setattr(exact, "products", chosen)
    rows = helpers.unit_vectors(150, 24, clusters=6)
    vectors = save_vectors(np.split(rows, [60]))
    check(vectors, rows, 20)
    check(vectors, rows, 5, own=np.array([3, 39, 40, 88]))
    assert nearest(rows[:0].astype(np.float32), np.arange(0), vectors, 3)[0].shape == (0, 3)


def test_a_query_from_elsewhere_leaves_nothing_out(save_vectors, helpers):
    rows = helpers.unit_vectors(30, 8)
    ids, scores = nearest(rows[4:5].astype(np.float32), np.array([-1]), save_vectors([rows]), 3)
    assert ids[0, 0] == 4 and scores[0, 0] == pytest.approx(1, abs=2e-3)


def test_nan_in_a_document(save_vectors, helpers):
    rows = helpers.unit_vectors(30, 8)
    rows[21, 3] = np.nan
    with pytest.raises(InputError, match=r"00001\.npy: the vector in row 11 has values that are not finite"):
        nearest(rows[:4].astype(np.float32), np.arange(4), save_vectors([rows[:10], rows[10:]]), 3)


def test_progress_counts_documents(save_vectors, helpers):
    rows, done = helpers.unit_vectors(30, 8), []
    nearest(rows.astype(np.float32), np.arange(30), save_vectors([rows[:10], rows[10:]]), 3, advance=done.append)
    assert sum(done) == 30


@pytest.mark.parametrize("tile", [(7, 13), (1024, 8192)])
def test_the_code_for_gpus_finds_the_same_candidates(save_vectors, helpers, monkeypatch, tile):
    """As far as a CPU can tell: the device is another one."""
    monkeypatch.setitem(exact._TILES, "cpu", tile)
    rows = helpers.unit_vectors(150, 24, clusters=6)
    own = np.array([3, -1, 39, 40, 88])
    search = (vectors := save_vectors(np.split(rows, [40]))).take(own % 150), own, vectors, 20, None
    found, expected = exact._on_gpu(*search, device="cpu"), exact._on_cpu(*search)
    np.testing.assert_array_equal(np.sort(found), np.sort(expected))
    rows[60] = np.inf
    with pytest.raises(InputError, match=r"00001\.npy: the vector in row 20 has values that are not finite"):
        exact._on_gpu(*search[:2], save_vectors(np.split(rows, [40])), 20, None, device="cpu")


def test_no_norm_is_computed_of_vectors_that_were_checked(save_vectors, helpers, monkeypatch):
    rows = helpers.unit_vectors(150, 24)
    given = save_vectors(np.split(rows, [40]))
    search = given.take(np.arange(9)), np.arange(9)
    expected = exact._on_gpu(*search, given, 20, None, device="cpu")
    monkeypatch.setattr(torch.linalg, "vector_norm", lambda *_, **__: pytest.fail("computed"))
    found = exact._on_gpu(*search, Vectors(given.files, checked=True), 20, None, device="cpu")
    np.testing.assert_array_equal(np.sort(found), np.sort(expected))
    with pytest.raises(pytest.fail.Exception):
        exact._on_gpu(*search, given, 20, None, device="cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_gpu_gives_the_same(save_vectors, helpers):
    rows = helpers.unit_vectors(5000, 384, clusters=40)
    vectors = save_vectors([rows])
    own = np.arange(5000)
    for one, other in zip(
        nearest(vectors.read(0), own, vectors, 50, device="cuda"),
        nearest(vectors.read(0), own, vectors, 50),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
