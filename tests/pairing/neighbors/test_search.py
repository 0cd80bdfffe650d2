"""One search for both engines: shards and blocks hold the same neighbors."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.pairing.neighbors.neighbor_files import read_neighbors
from megatron_sbp.pairing.neighbors.search import Search
from megatron_sbp.recipe import Neighbors


@pytest.fixture
def vectors(save_vectors, helpers):
    rows = helpers.unit_vectors(60, 16, clusters=6)
    return save_vectors([rows[:25], rows[25:26], rows[26:]])


@pytest.mark.parametrize("engine", ["exact", "scann"])
def test_shards_hold_what_blocks_give(vectors, tmp_path, engine):
    search = Search(vectors, Neighbors(k=5, engine=engine), seed=1, device="cpu", index_folder=tmp_path / "index")
    written = []
    for number in range(3):
        search.write_files({number: tmp_path / f"{number}.npz"}, "neighbors")
        written.append(read_neighbors(tmp_path / f"{number}.npz"))
    ids, scores = (np.concatenate(parts) for parts in zip(*written, strict=True))
    assert ids.dtype == np.int64 and scores.dtype == np.float32 and ids.shape == (60, 5)
    blocks = list(search.blocks())
    np.testing.assert_array_equal(ids, np.concatenate([found for found, _ in blocks]))
    assert not (ids == np.arange(60)[:, None]).any()  # a document is not its own neighbor
    assert (np.diff(scores, axis=1) <= 0).all()


@pytest.mark.parametrize("engine", ["exact", "scann"])
def test_files_that_are_searched_for_together(vectors, tmp_path, engine):
    search = Search(vectors, Neighbors(k=5, engine=engine), seed=1, device="cpu", index_folder=tmp_path / "index")
    search.write_files({1: tmp_path / "alone1.npz"}, "neighbors")
    search.write_files({0: tmp_path / "alone0.npz"}, "neighbors")
    search.write_files({0: tmp_path / "0.npz", 1: tmp_path / "1.npz"}, "neighbors")
    for number in (0, 1):
        assert (tmp_path / f"{number}.npz").read_bytes() == (tmp_path / f"alone{number}.npz").read_bytes()


def test_both_engines_agree_on_few_documents(vectors, tmp_path):
    found = [
        next(
            Search(
                vectors, Neighbors(k=5, engine=engine), seed=1, device="cpu", index_folder=tmp_path / engine
            ).blocks()
        )
        for engine in ("exact", "scann")
    ]
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-3)
    assert (found[0][0] == found[1][0]).mean() > 0.95  # equal scores may come in another order


def test_more_neighbors_than_documents_are_padded(save_vectors, helpers):
    vectors = save_vectors([helpers.unit_vectors(3, 8)])
    ids, scores = next(Search(vectors, Neighbors(k=5, engine="exact"), seed=1, device="cpu").blocks())
    assert (ids[:, 2:] == -1).all() and (scores[:, 2:] == -2).all() and (ids[:, :2] >= 0).all()
