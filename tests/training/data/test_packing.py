"""Packing: every pair once, nothing too long, and full."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from megatron_sbp.base import files
from megatron_sbp.training.data.packing import pack


def lengths_like_documents(count: int) -> np.ndarray:
    """Log-normal lengths, cut at 512: what pairs of dictionary articles look like."""
    return np.minimum(np.random.default_rng(0).lognormal(5, 0.6, count).astype(int) + 4, 512)


def test_every_pair_once_and_no_sequence_too_long():
    lengths = lengths_like_documents(5000)
    packing = pack(lengths, 512, seed=1)
    assert sorted(packing.order) == list(range(5000))
    sums = np.add.reduceat(lengths[packing.order], packing.starts[:-1])
    assert sums.max() <= 512
    assert packing.fill == pytest.approx(sums.sum() / (512 * len(packing)))


def test_at_least_97_percent_full():
    assert pack(lengths_like_documents(5000), 512, seed=1).fill >= 0.97


def test_deterministic_and_seeded():
    lengths = lengths_like_documents(500)
    one, same, other = pack(lengths, 512, 1), pack(lengths, 512, 1), pack(lengths, 512, 2)
    assert (one.order == same.order).all() and (one.starts == same.starts).all()
    assert (one.order != other.order).any()


def test_more_pairs_than_a_window(monkeypatch):
    monkeypatch.setattr("megatron_sbp.training.data.packing.WINDOW", 64)
    lengths = lengths_like_documents(1000)
    packing = pack(lengths, 512, seed=1)
    assert sorted(packing.order) == list(range(1000))
    assert np.add.reduceat(lengths[packing.order], packing.starts[:-1]).max() <= 512


def test_a_pair_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="600 tokens does not fit into a sequence of 512"):
        pack(np.array([10, 600]), 512, seed=1)
    with pytest.raises(ValueError, match="no pairs"):
        pack(np.array([], dtype=int), 512, seed=1)


def test_against_the_plain_definition():
    """Best fit, longest first: each pair goes where the least room is left over, to the latest of equals."""
    lengths = lengths_like_documents(400)
    for room in (512, 700, 1024):
        order = np.random.default_rng([1, 2]).permutation(len(lengths))
        bins: list[list[int]] = []
        left: list[int] = []
        latest: list[int] = []  # when each was last put something into
        for turn, pair in enumerate(sorted(order.tolist(), key=lambda pair: -lengths[pair])):
            fitting = [number for number in range(len(bins)) if left[number] >= lengths[pair]]
            if fitting:
                chosen = min(fitting, key=lambda number: (left[number], -latest[number]))
            else:
                chosen = len(bins)
                bins.append([])
                left.append(room)
                latest.append(0)
            bins[chosen].append(pair)
            left[chosen] -= lengths[pair]
            latest[chosen] = turn
        packing = pack(lengths, room, seed=1)
        assert packing.order.tolist() == [pair for members in bins for pair in members]
        assert np.diff(packing.starts).tolist() == [len(members) for members in bins]


@pytest.mark.parametrize("room", [512, 1024, 4096])
def test_real_documents_fill_97_percent(room):
    """Pairs of the quick start's documents, at four bytes a token, halves cut as the recipe does by default."""
    corpus = Path(__file__).parents[3] / "examples" / "quickstart" / "foldoc.jsonl.zst"
    documents = np.array([len(row["text"].encode()) // 4 + 1 for row in files.read_jsonl_zst(corpus)])
    seeds, targets = np.random.default_rng(0).choice(np.minimum(documents, room // 2 - 1), (2, 20_000))
    assert pack(seeds + targets + 1, room, seed=1).fill >= 0.97
