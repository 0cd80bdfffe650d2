from __future__ import annotations

import builtins
import json
import multiprocessing
import sys

import numpy as np
import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.pairing.neighbors import scann_engine
from megatron_sbp.pairing.neighbors.exact import nearest
from megatron_sbp.pairing.neighbors.recall import recall
from megatron_sbp.pairing.neighbors.scann_engine import ScannIndex
from megatron_sbp.pairing.neighbors.scann_plan import plan
from megatron_sbp.pairing.neighbors.vectors import Vectors
from megatron_sbp.recipe import Neighbors

pytest.importorskip("scann")


def foldoc_vectors(mined) -> Vectors:
    return Vectors(sorted(mined.embeddings("train").glob("*.npy")))


def search(vectors: Vectors, settings: Neighbors, folder=None, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    own = np.arange(len(vectors))
    index = ScannIndex(vectors, plan(len(vectors), vectors.dimensions, settings, seed), settings, folder)
    return index.nearest(vectors.take(own), own, settings.k)


def test_plan():
    few = plan(1999, 384, Neighbors(k=200), 1)
    assert (few.leaves, few.method, few.candidates) == (0, "brute force", 217)
    many = plan(60_000_000, 1024, Neighbors(k=200), 1)
    assert (many.leaves, many.leaves_to_search, many.reorder) == (7746, 1936, 800)
    assert plan(2500, 384, Neighbors(k=10), 1).reorder == 100
    assert plan(100, 384, Neighbors(k=200, leaves=5), 1).candidates == 100
    chosen = plan(5000, 384, Neighbors(k=10, leaves=40, leaves_to_search=7, reorder=55), 1)
    assert (chosen.leaves, chosen.leaves_to_search, chosen.reorder) == (40, 7, 55)
    with pytest.raises(InputError, match=r"'neighbors.leaves': 300 leaves for 200 documents"):
        plan(200, 384, Neighbors(leaves=300), 1)
    with pytest.raises(InputError, match=r"'neighbors.leaves_to_search': 9 is more than the 4 leaves"):
        plan(200, 384, Neighbors(leaves=4, leaves_to_search=9), 1)


def test_tree_on_real_text(mined):
    vectors = foldoc_vectors(mined)
    own = np.arange(len(vectors))
    exact = nearest(vectors.take(own), own, vectors, 10)
    ids, scores = search(vectors, Neighbors(k=10, leaves=16, leaves_to_search=8))
    assert recall(ids, exact[0]) > 0.85
    few, _ = search(vectors, Neighbors(k=10, leaves=16, leaves_to_search=1))
    assert recall(few, exact[0]) < recall(ids, exact[0])
    assert (ids != own[:, None]).all()
    assert all(len(set(row)) == 10 for row in ids.tolist())
    assert (np.diff(scores, axis=1) <= 0).all()
    # Every neighbor found has the score of the exact search, to the last bit.
    for row in range(len(own)):
        known = dict(zip(exact[0][row].tolist(), exact[1][row].tolist(), strict=True))
        for id, score in zip(ids[row].tolist(), scores[row].tolist(), strict=True):
            assert known.get(id, score) == score


def test_all_leaves_are_the_exact_search(mined):
    vectors = foldoc_vectors(mined)
    own = np.arange(len(vectors))
    exact = nearest(vectors.take(own), own, vectors, 10)
    found = search(vectors, Neighbors(k=10, leaves=8, leaves_to_search=8, reorder=300))
    np.testing.assert_array_equal(found[0], exact[0])
    np.testing.assert_array_equal(found[1], exact[1])


def test_brute_force_is_the_exact_search(mined):
    vectors = foldoc_vectors(mined)
    own = np.arange(len(vectors))
    exact = nearest(vectors.take(own), own, vectors, 20)
    found = search(vectors, Neighbors(k=20))
    np.testing.assert_array_equal(found[0], exact[0])
    np.testing.assert_array_equal(found[1], exact[1])


@pytest.mark.parametrize("leaves", [None, 4])
def test_fewer_found_than_wanted(save_vectors, helpers, leaves):
    rows = helpers.unit_vectors(60, 16, clusters=4)
    ids, scores = search(save_vectors([rows]), Neighbors(k=100, leaves=leaves, leaves_to_search=1 if leaves else None))
    found = (ids >= 0).sum(axis=1)
    assert (found == 59).all() if leaves is None else (found < 59).all() and found.max() > 3
    assert (scores[ids < 0] == -2).all() and (scores[ids >= 0] > -2).all()
    assert (ids != np.arange(60)[:, None]).all()


def test_one_document(save_vectors, helpers):
    ids, scores = search(save_vectors([helpers.unit_vectors(1, 16)]), Neighbors(k=3))
    assert ids.tolist() == [[-1, -1, -1]] and scores.tolist() == [[-2, -2, -2]]


def _built_elsewhere(paths, settings, queue):
    queue.put([part.tobytes() for part in search(Vectors(paths), settings)])


@pytest.mark.slow
def test_same_index_in_every_process(save_vectors, helpers):
    """ScaNN's own training differs from build to build; ours must not."""
    vectors = save_vectors([helpers.unit_vectors(3000, 64, clusters=30)])
    settings = Neighbors(k=10, leaves=50, leaves_to_search=3, reorder=20)
    first = [part.tobytes() for part in search(vectors, settings)]
    assert [part.tobytes() for part in search(vectors, settings)] == first
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_built_elsewhere, args=(vectors.files, settings, queue))
    process.start()
    assert queue.get(timeout=120) == first
    process.join()
    assert [part.tobytes() for part in search(vectors, settings, seed=2)] != first


def test_index_in_a_folder_is_loaded_and_not_built_again(tmp_path, save_vectors, helpers, monkeypatch, capfd):
    vectors = save_vectors([helpers.unit_vectors(500, 32, clusters=10)])
    settings = Neighbors(k=10, leaves=12)
    folder = tmp_path / "index" / "train"
    first = search(vectors, settings, folder)
    assert "building a ScaNN index of 12 leaves over 500 documents" in capfd.readouterr().err
    assert sorted(path.name for path in folder.parent.iterdir()) == [".train.lock", "train"]
    monkeypatch.setattr(scann_engine, "build", None)
    for one, other in zip(search(vectors, settings, folder), first, strict=True):
        np.testing.assert_array_equal(one, other)
    assert capfd.readouterr() == ("", "")
    monkeypatch.undo()
    search(vectors, Neighbors(k=10, leaves=13), folder)  # another plan: rebuilt
    assert json.loads((folder / "plan.json").read_text())["plan"]["leaves"] == 13


def test_a_half_written_index_is_not_used(tmp_path, save_vectors, helpers):
    vectors = save_vectors([helpers.unit_vectors(500, 32, clusters=10)])
    settings = Neighbors(k=10, leaves=12)
    folder = tmp_path / "index" / "train"
    first = search(vectors, settings, folder)
    (folder / "plan.json").unlink()
    (folder / "ah_codebook.pb").write_bytes(b"half")
    partial = folder.with_name(".train.partial")
    partial.mkdir()
    (partial / "dataset.npy").write_bytes(b"half")
    for one, other in zip(search(vectors, settings, folder), first, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not partial.exists()


def test_nan_is_named(save_vectors, helpers):
    rows = helpers.unit_vectors(500, 32)
    rows[77, 0] = np.nan
    with pytest.raises(InputError, match=r"00000\.npy: the vector in row 77 has values"):
        search(save_vectors([rows]), Neighbors(k=10))


def test_scann_missing(monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest):
        if name.startswith("scann"):
            raise ImportError("No module named 'scann'")
        return real(name, *rest)

    for name in [name for name in sys.modules if name.split(".")[0] == "scann"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(InputError, match=r"'neighbors.engine': ScaNN cannot be imported.*exact needs no additional"):
        scann_engine.load_scann()


def test_too_little_memory():
    huge = plan(60_000_000_000, 1024, Neighbors(), 1)
    with pytest.raises(InputError, match=r"'neighbors.documents_per_index': ScaNN needs about \d+\.\d GiB .*exact"):
        scann_engine._check_memory(huge)
