"""How far ScaNN must look is found on a sample: the cheapest search that finds enough."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.pairing.neighbors import scann_tuning
from megatron_sbp.pairing.neighbors.exact import nearest
from megatron_sbp.pairing.neighbors.recall import recall
from megatron_sbp.pairing.neighbors.scann_engine import ScannIndex
from megatron_sbp.pairing.neighbors.scann_plan import ScannPlan, plan
from megatron_sbp.pairing.neighbors.scann_tuning import Tuned, leaf_ladder, read_tuned, tune, write_tuned
from megatron_sbp.recipe import Neighbors

DOCUMENTS, K, LEAVES = 400, 10, 50


@pytest.fixture
def vectors(save_vectors, helpers):
    return save_vectors([helpers.unit_vectors(DOCUMENTS, 16, clusters=10)])


def finding(vectors, share_of):
    """A search that finds a share of the true neighbors, which follows from its arguments; and what it was asked."""
    asked = []

    def search(queries, rows, leaves, reorder):
        asked.append((leaves, reorder))
        ids, _ = nearest(queries, rows, vectors, K)
        ids[:, round(K * share_of(leaves, reorder)) :] = -1
        return ids

    return search, asked


def tuned(vectors, share_of, target=0.9, fixed=False) -> tuple[Tuned, list]:
    search, asked = finding(vectors, share_of)
    shape = ScannPlan(DOCUMENTS, 16, K + 17, LEAVES, 12, 40, 1)
    return tune(search, vectors, shape, target=target, k=K, fixed_reorder=fixed), asked


def test_the_fewest_leaves_that_are_enough(vectors):
    found, asked = tuned(vectors, lambda leaves, reorder: min(1.0, leaves / 20), fixed=True)
    assert found.recall >= 0.9 and found.reorder == 40 and {reorder for _, reorder in asked} == {40}
    before = leaf_ladder(LEAVES)[leaf_ladder(LEAVES).index(found.leaves_to_search) - 1]
    assert before < 18 <= found.leaves_to_search
    assert len(asked) == len(set(asked)) <= 6  # halving, not all of the ladder


def test_more_candidates_where_leaves_do_not_help(vectors):
    found, _ = tuned(vectors, lambda leaves, reorder: min(leaves / 5, reorder / 150, 1.0))
    assert found.reorder == 160 and found.recall >= 0.9


def test_as_much_as_there_is_where_nothing_is_enough(vectors, capfd):
    found, _ = tuned(vectors, lambda leaves, reorder: 0.5 * leaves / LEAVES)
    assert found.leaves_to_search == LEAVES and found.recall == 0.5 and found.reorder == 40
    assert "neighbors.recall_target 0.9 is out of reach" in capfd.readouterr().err


@pytest.mark.parametrize("leaves", [1, 2, 7, 64, 1000, 24_000])
def test_ladder(leaves):
    ladder = leaf_ladder(leaves)
    assert ladder[-1] == leaves and ladder[0] >= 1 and (np.diff(ladder) > 0).all() and len(ladder) < 25


def test_kept_beside_the_index(tmp_path):
    one = Tuned(0.9, 10, 7, 100, 0.93)
    write_tuned(one, tmp_path)
    assert read_tuned(tmp_path, 0.9, 10) == one
    assert read_tuned(tmp_path, 0.95, 10) is None and read_tuned(tmp_path, 0.9, 11) is None
    (tmp_path / "tuned.json").write_text('{"target": 0.9}')
    assert read_tuned(tmp_path, 0.9, 10) is None and read_tuned(tmp_path / "none", 0.9, 10) is None


def test_with_scann_the_target_is_met_on_all_documents(save_vectors, helpers, monkeypatch, tmp_path):
    pytest.importorskip("scann")
    vectors = save_vectors([helpers.unit_vectors(3000, 64, clusters=300)])
    own, found = np.arange(3000), {}
    exact, _ = nearest(vectors.take(own), own, vectors, K)
    for target in (0.6, 0.95):
        settings = Neighbors(k=K, recall_target=target)
        index = ScannIndex(vectors, plan(3000, 64, settings, 1), settings, tmp_path / f"{target}")
        assert index.tuned is not None and index.tuned.recall >= target
        found[target] = index.tuned
        ids, _ = index.nearest(vectors.take(own), own, K)
        assert recall(ids, exact) > target - 0.03
        monkeypatch.setattr(scann_tuning, "tune", None)
        again = ScannIndex(vectors, plan(3000, 64, settings, 1), settings, tmp_path / f"{target}")
        assert again.tuned == index.tuned
        monkeypatch.undo()
    assert found[0.6].leaves_to_search < found[0.95].leaves_to_search < 55
    given = Neighbors(k=K, leaves_to_search=5)
    assert ScannIndex(vectors, plan(3000, 64, given, 1), given).tuned is None
