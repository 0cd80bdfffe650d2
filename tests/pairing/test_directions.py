"""One direction of each pair, or pairs in both, in whatever pieces it works."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from megatron_sbp.pairing import directions
from megatron_sbp.pairing.directions import Directions

DOCUMENTS = 60


def tables(random: np.random.Generator, shards: int) -> list[pa.Table]:
    """Every seed document with 12 other targets, ascending."""
    found = []
    for seeds in np.array_split(np.arange(DOCUMENTS), shards):
        others = [np.sort(random.choice(np.delete(np.arange(DOCUMENTS), seed), 12, replace=False)) for seed in seeds]
        scores = random.random(12 * len(seeds)).astype(np.float32)
        found.append(pa.table({"seed": np.repeat(seeds, 12), "target": np.concatenate(others), "score": scores}))
    return found


def pairs_of(table: pa.Table) -> list[tuple[int, int]]:
    return list(zip(table["seed"].to_pylist(), table["target"].to_pylist(), strict=True))


def kept_of(shards: list[pa.Table], run_seed: int = 3, mutual: bool = False) -> list[tuple[int, int]]:
    chosen = Directions(lambda: shards, DOCUMENTS, run_seed, mutual)
    return [pair for n, shard in enumerate(shards) for pair in pairs_of(shard.filter(chosen.keeps(n, shard)))]


@pytest.mark.parametrize("at_once", [1, 50, 10**6])
@pytest.mark.parametrize("shards", [1, 4, 60])
def test_one_direction_of_every_pair(monkeypatch, at_once, shards):
    monkeypatch.setattr(directions, "_AT_ONCE", at_once)
    random = np.random.default_rng(shards)
    given = tables(random, shards)
    every = [pair for shard in given for pair in pairs_of(shard)]
    kept = kept_of(given)
    assert len({frozenset(pair) for pair in kept}) == len(kept) == len({frozenset(pair) for pair in every})
    assert kept == [pair for pair in every if pair in set(kept)]
    assert kept_of([pa.concat_tables(given)]) == kept  # however the shards are cut
    mutual = {pair for pair in every if pair[::-1] in set(every)}
    forward = [pair for pair in kept if pair in mutual and pair[0] < pair[1]]
    assert 0.3 < len(forward) / (len(mutual) / 2) < 0.7  # by a fair coin, over about 70 pairs
    assert kept_of(given, run_seed=4) != kept


@pytest.mark.parametrize("at_once", [1, 10**6])
def test_pairs_found_in_both_directions(monkeypatch, at_once):
    monkeypatch.setattr(directions, "_AT_ONCE", at_once)
    given = tables(np.random.default_rng(1), 5)
    every = [pair for shard in given for pair in pairs_of(shard)]
    assert kept_of(given, mutual=True) == [pair for pair in every if pair[::-1] in set(every)] != every


def test_random_pairs_fall_with_those_in_whose_place_they_are():
    random = np.random.default_rng(2)
    given = tables(random, 3)
    drawn = [
        pa.table(
            {
                "seed": table["seed"],
                "target": random.integers(0, DOCUMENTS, len(table)),
                "score": random.random(len(table)).astype(np.float32),
                "instead_of_target": table["target"],
                "instead_of_score": table["score"],
            }
        )
        for table in given
    ]
    ours = Directions(lambda: given, DOCUMENTS, 3, False)
    theirs = Directions(lambda: drawn, DOCUMENTS, 3, False)
    for number, (mined, control) in enumerate(zip(given, drawn, strict=True)):
        assert ours.keeps(number, mined).tolist() == theirs.keeps(number, control).tolist()


def test_no_pairs():
    empty = tables(np.random.default_rng(1), 1)[0][:0]
    chosen = Directions(lambda: [empty, empty], DOCUMENTS, 1, True)
    assert chosen.keeps(1, empty).tolist() == []
