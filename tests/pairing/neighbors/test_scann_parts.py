"""ScaNN in parts: the same neighbors as with one index, wherever the borders are and whatever part comes first."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.pairing.neighbors import exact, scann_engine
from megatron_sbp.pairing.neighbors.recall import recall
from megatron_sbp.pairing.neighbors.scann_parts import ScannParts
from megatron_sbp.recipe import Neighbors

pytest.importorskip("scann")


@pytest.fixture
def vectors(save_vectors, helpers):
    """900 documents in six files, one of them of a single document."""
    rows = helpers.unit_vectors(900, 32, clusters=30)
    return save_vectors(np.split(rows, [150, 151, 400, 520, 700]))


def search(index: ScannParts, vectors, first: int = 0, advance=None) -> tuple[np.ndarray, np.ndarray]:
    own = np.arange(len(vectors))
    return index.nearest(vectors.take(own), own, advance, first)


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_parts_that_look_at_everything_are_the_exact_search(vectors, parts):
    index = ScannParts(vectors, Neighbors(k=12), parts, seed=1)
    own = np.arange(len(vectors))
    ids, scores = search(index, vectors)
    wanted, their_scores = exact.nearest(vectors.take(own), own, vectors, 12)
    np.testing.assert_array_equal(ids, wanted)
    np.testing.assert_array_equal(scores, their_scores)
    assert ids.dtype == np.int64 and scores.dtype == np.float32
    assert len(index) == parts and sum(plan.documents for plan in index.plans) == 900


def test_the_first_part_changes_nothing_and_progress_counts_every_part(vectors):
    index = ScannParts(vectors, Neighbors(k=5, leaves=8, leaves_to_search=2), 3, seed=1)
    found, done = [], []
    for first in range(3):
        found.append(search(index, vectors, first, done.append))
    for ids, scores in found[1:]:
        np.testing.assert_array_equal(ids, found[0][0])
        np.testing.assert_array_equal(scores, found[0][1])
    assert sum(done) == 3 * 3 * 900
    assert not (found[0][0] == np.arange(900)[:, None]).any()


def test_parts_reach_the_target_of_their_samples(vectors, tmp_path):
    index = ScannParts(vectors, Neighbors(k=10, leaves=12, recall_target=0.9), 3, 1, tmp_path / "index")
    own = np.arange(len(vectors))
    wanted, _ = exact.nearest(vectors.take(own), own, vectors, 10)
    assert recall(search(index, vectors)[0], wanted) > 0.88
    assert sorted(path.name for path in (tmp_path / "index").glob("[0-9]*")) == [f"0000{n}-of-00003" for n in range(3)]
    far = index.far()
    assert all(1 <= part.leaves_to_search <= 12 for part in far)
    other = ScannParts(vectors, Neighbors(k=10, leaves=12, recall_target=0.9), 3, 1, tmp_path / "index")
    assert other.far() == far and other._open is None  # read beside the indexes, none of which is loaded for it


def test_a_part_is_built_once_without_a_folder_too(vectors, capfd):
    index = ScannParts(vectors, Neighbors(k=5, leaves=4, leaves_to_search=4), 2, 1)
    first, second = search(index, vectors), search(index, vectors)
    np.testing.assert_array_equal(first[0], second[0])
    assert capfd.readouterr().err.count("building a ScaNN index") == 2


def test_one_index_is_in_memory_at_a_time(vectors, tmp_path, monkeypatch):
    alive, most = [0], []

    class Counted(scann_engine.ScannIndex):
        def __init__(self, *arguments):
            alive[0] += 1
            most.append(alive[0])
            super().__init__(*arguments)

        def __del__(self):
            alive[0] -= 1

    monkeypatch.setattr("megatron_sbp.pairing.neighbors.scann_parts.ScannIndex", Counted)
    search(ScannParts(vectors, Neighbors(k=5), 6, 1, tmp_path / "index"), vectors)
    assert most == [1] * 6


def test_fewer_documents_than_neighbors(save_vectors, helpers):
    rows = helpers.unit_vectors(5, 8)
    vectors = save_vectors([rows[:2], rows[2:3], rows[3:]])
    ids, scores = search(ScannParts(vectors, Neighbors(k=7), 3, 1), vectors)
    assert (np.sort(ids[:, :4], axis=1) == [[other for other in range(5) if other != row] for row in range(5)]).all()
    assert (ids[:, 4:] == -1).all() and (scores[:, 4:] == -2).all() and (np.diff(scores, axis=1) <= 0).all()


def test_what_is_wrong_is_named(save_vectors, helpers, monkeypatch):
    rows = helpers.unit_vectors(40, 8)
    rows[33, 2] = np.nan
    broken = save_vectors([rows[:20], rows[20:]])
    with pytest.raises(InputError, match=r"00001\.npy.*13"):
        ScannParts(broken, Neighbors(k=3), 2, 1).nearest(rows[:4].astype(np.float32), np.arange(4))
    fine = save_vectors([helpers.unit_vectors(20, 8), helpers.unit_vectors(20, 8)])
    with pytest.raises(InputError, match=r"neighbors\.leaves': 30 leaves for 20 documents"):
        ScannParts(fine, Neighbors(k=3, leaves=30), 2, 1)
