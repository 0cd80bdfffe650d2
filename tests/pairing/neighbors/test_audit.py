"""How neighbors were found, and how well: the recall is measured on files that may hold wrong neighbors."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.pairing.neighbors.audit import audit_neighbors
from megatron_sbp.pairing.neighbors.search import Search
from megatron_sbp.recipe import Neighbors


@pytest.fixture
def made(save_vectors, helpers, tmp_path):
    """Vectors in two files, and their exact neighbors."""
    rows = helpers.unit_vectors(80, 16, clusters=5)
    vectors = save_vectors([rows[:50], rows[50:]])
    search = Search(vectors, Neighbors(k=4, engine="exact"), seed=1, device="cpu")
    paths = [tmp_path / f"{number}.npz" for number in range(2)]
    for number, path in enumerate(paths):
        search.write_files({number: path}, "test")
    return vectors, paths


def audit(made, **settings):
    vectors, paths = made
    search = Search(vectors, Neighbors(k=4, **settings), seed=1, device="cpu")
    return audit_neighbors(search, paths, seed=1, device="cpu", split="train")


def test_an_exact_search_is_measured_too(made, monkeypatch):
    found = audit(made, engine="exact")
    assert (found["recall_at_k"], found["recall_sample"], found["documents"], found["dim"]) == (1.0, 80, 80, 16)
    monkeypatch.setattr("megatron_sbp.pairing.neighbors.recall.EXACT_SAMPLE", 30)
    assert audit(made, engine="exact")["recall_sample"] == 30
    with np.load(made[1][0]) as shard:
        ids, scores = shard["ids"], shard["scores"]
    np.savez(made[1][0], ids=np.roll(ids, 1, axis=0), scores=scores)  # those of the document before
    assert audit(made, engine="exact")["recall_at_k"] < 0.8


def test_right_neighbors_have_a_recall_of_one_and_half_of_them_a_half(made):
    assert audit(made, engine="scann", recall_sample=80)["recall_at_k"] == 1.0
    for path in made[1]:
        with np.load(path) as shard:
            ids, scores = shard["ids"], shard["scores"]
        ids[:, 2:] = -1
        np.savez(path, ids=ids, scores=scores)
    found = audit(made, engine="scann", recall_sample=80)
    assert found["recall_at_k"] == pytest.approx(0.5) and found["recall_sample"] == 80
    by_similarity = found["recall_by_similarity"]
    assert sum(by_similarity["neighbors"]) == 320 and sum(by_similarity["found"]) == 160
    assert len(by_similarity["edges"]) == len(by_similarity["found"]) + 1 and by_similarity["neighbors"][0] > 0


def test_nothing_is_measured_where_nothing_is_asked(made):
    found = audit(made, engine="scann", recall_sample=0)
    assert found["recall_at_k"] is None and found["recall_sample"] == 0 and found["method"] == "brute force"
