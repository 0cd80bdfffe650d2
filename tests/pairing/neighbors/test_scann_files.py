"""A ScaNN index on disk: what it is built from, when it counts as built, and what its building says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.pairing.neighbors import scann_files
from megatron_sbp.pairing.neighbors.clusters import k_means
from megatron_sbp.pairing.neighbors.scann_plan import ScannPlan, plan
from megatron_sbp.recipe import Neighbors

pytest.importorskip("scann")


@pytest.fixture
def scann():
    from megatron_sbp.pairing.neighbors.scann_engine import load_scann

    return load_scann()


def made_plan(leaves: int | None = 6, seed: int = 1) -> ScannPlan:
    return plan(300, 16, Neighbors(k=5, leaves=leaves), seed)


@pytest.fixture
def vectors(save_vectors, helpers):
    rows = helpers.unit_vectors(300, 16, clusters=6)
    return save_vectors([rows[:120], rows[120:]])


def centers(folder: Path) -> np.ndarray:
    from scann.partitioning import partitioner_pb2

    stored = partitioner_pb2.SerializedPartitioner()
    stored.ParseFromString((folder / "serialized_partitioner.pb").read_bytes())
    assert stored.n_tokens == len(stored.kmeans.kmeans_tree.root.centers)
    return np.array([list(center.dimension) for center in stored.kmeans.kmeans_tree.root.centers])


def test_the_index_holds_all_vectors_and_our_centers(scann, vectors, tmp_path):
    folder = tmp_path / "index"
    scann_files.build(scann, vectors, made_plan(), folder)
    np.testing.assert_array_equal(np.load(folder / "dataset.npy"), vectors.take(np.arange(300)))
    np.testing.assert_allclose(centers(folder), k_means(vectors.take(np.arange(300)), 6, 1), atol=1e-6)
    assert (folder / "ah_codebook.pb").exists()  # the hashing is trained once, not by everyone who loads the index
    assert not list(tmp_path.glob(".*.partial"))
    assert str(tmp_path) not in (folder / "scann_assets.pbtxt").read_text()  # a run folder can be moved


def test_few_documents_need_no_partitions(scann, vectors, tmp_path):
    scann_files.build(scann, vectors, made_plan(leaves=None), tmp_path / "index")
    assert not (tmp_path / "index" / "serialized_partitioner.pb").exists()
    searcher = scann.load_searcher(str(tmp_path / "index"))
    own = np.arange(300)
    found, _ = searcher.search_batched(vectors.take(own))
    assert (found[:, 0] == own).all()


def test_an_index_is_built_when_it_is_whole_and_of_this_plan(scann, vectors, tmp_path):
    folder = tmp_path / "index"
    assert not scann_files.is_built(folder, made_plan(), vectors)
    scann_files.build(scann, vectors, made_plan(), folder)
    assert scann_files.is_built(folder, made_plan(), vectors)
    assert not scann_files.is_built(folder, made_plan(leaves=7), vectors)
    assert not scann_files.is_built(folder, made_plan(seed=2), vectors)
    for name in json.loads((folder / "plan.json").read_text())["files"]:
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-1])
        assert not scann_files.is_built(folder, made_plan(), vectors), name
        (folder / name).write_bytes(whole)
    assert scann_files.is_built(folder, made_plan(), vectors)
    for damaged in ("", "[]", '{"plan": {}}'):
        (folder / "plan.json").write_text(damaged)
        assert not scann_files.is_built(folder, made_plan(), vectors)


def test_another_plan_replaces_the_index_and_a_bad_vector_leaves_it(scann, vectors, tmp_path, save_vectors, helpers):
    folder = tmp_path / "index"
    scann_files.build(scann, vectors, made_plan(), folder)
    (folder / "left over").touch()
    scann_files.build(scann, vectors, made_plan(leaves=9), folder)
    assert scann_files.is_built(folder, made_plan(leaves=9), vectors) and len(centers(folder)) == 9
    assert not (folder / "left over").exists()
    good, bad = vectors.take(np.arange(300)), helpers.unit_vectors(300, 16)
    bad[7] *= 3
    with pytest.raises(InputError, match="row 7"):
        scann_files.build(scann, save_vectors([bad]), made_plan(), folder)
    assert scann_files.is_built(folder, made_plan(leaves=9), save_vectors([good]))
    assert not list(tmp_path.glob(".*.partial"))


def test_an_index_of_another_run_is_named_and_not_taken(scann, vectors, tmp_path, save_vectors, helpers, capsys):
    """As large and built alike, over vectors that differ in one file; neither manifest nor plan tells them apart."""
    folder = tmp_path / "index"
    scann_files.build(scann, vectors, made_plan(), folder)
    rows, others = vectors.take(np.arange(300)).astype(np.float16), helpers.unit_vectors(300, 16, seed=2)
    other = save_vectors([rows[:120], others[120:]])
    capsys.readouterr()
    assert not scann_files.is_built(folder, made_plan(), other)
    assert f"{folder} is an index of other vectors; rebuilding it" in capsys.readouterr().err


def test_what_is_logged_is_shown_only_when_something_goes_wrong(capfd):
    with scann_files.quiet_file_descriptors():
        os.write(1, b"from C++\n")
        os.write(2, b"and more\n")
    assert capfd.readouterr() == ("", "")
    with pytest.raises(RuntimeError), scann_files.quiet_file_descriptors():
        os.write(2, b"the cause\n")
        raise RuntimeError
    assert capfd.readouterr().err == "the cause\n"
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"
