"""A running top-k over tiles."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.pairing.neighbors.reservoir import Reservoirs


def search(scores: np.ndarray, wanted: int, cuts: list[int]) -> np.ndarray:
    found = Reservoirs(len(scores), wanted)
    for begin, end in zip([0, *cuts], [*cuts, scores.shape[1]], strict=True):
        half = len(scores) // 2
        found.offer(0, np.ascontiguousarray(scores[:half, begin:end]), begin)
        found.offer(half, np.ascontiguousarray(scores[half:, begin:end]), begin)
    return found.ids()


def check(scores: np.ndarray, wanted: int, cuts: list[int]) -> None:
    """The scores of what was found are the best, whichever of equal ones were taken; nothing is found twice."""
    found = search(scores, wanted, cuts)
    assert found.dtype == np.int64 and found.shape == (len(scores), wanted)
    for row, ids in zip(scores, found, strict=True):
        kept = ids[ids >= 0]
        assert len(set(kept.tolist())) == len(kept) == min(wanted, np.isfinite(row).sum())
        np.testing.assert_array_equal(np.sort(row[kept]), np.sort(row[np.isfinite(row)])[-wanted:])


@pytest.mark.parametrize("wanted", [1, 5, 40, 216])
@pytest.mark.parametrize("cuts", [[], [1], [37, 38, 500], list(range(64, 960, 64))], ids=str)
@pytest.mark.parametrize("kind", ["random", "ascending", "descending", "few values", "equal", "left out"])
def test_against_a_sort(kind, cuts, wanted):
    random = np.random.default_rng([wanted, len(cuts)])
    scores = random.standard_normal((9, 1003)).astype(np.float32)
    if kind == "ascending":
        scores.sort(axis=1)
    elif kind == "descending":
        scores = np.ascontiguousarray(np.sort(scores, axis=1)[:, ::-1])
    elif kind == "few values":
        scores = np.round(scores)
    elif kind == "equal":
        scores[:] = -0.25
    elif kind == "left out":
        scores[random.random(scores.shape) < 0.8] = -np.inf
        scores[3] = -np.inf
    check(scores, wanted, cuts)


def test_fewer_scores_than_wanted():
    ids = search(np.array([[0.5, -np.inf, 0.7], [0.1, 0.2, 0.3]], np.float32), 5, [2])
    assert sorted(ids[0].tolist()) == [-1, -1, -1, 0, 2] and sorted(ids[1].tolist()) == [-1, -1, 0, 1, 2]


def test_memory_does_not_grow_with_the_tiles():
    found = Reservoirs(4, 10)
    before = found._scores.nbytes + found._ids.nbytes
    for tile in range(50):
        found.offer(0, np.full((4, 100), tile, np.float32), 100 * tile)
    assert found._scores.nbytes + found._ids.nbytes == before
    assert (found.ids() >= 4900).all()
