"""The cap per target keeps what sorting all pairs would keep, in whatever pieces it works."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from megatron_sbp.pairing import target_cap
from megatron_sbp.pairing.target_cap import TargetCap

DOCUMENTS = 40


def tables(random: np.random.Generator, shards: int) -> list[pa.Table]:
    """Every seed document with 12 targets, some of them those of nearly all; few different scores."""
    found = []
    weights = 1 / np.arange(1, DOCUMENTS + 1)
    for seeds in np.array_split(np.arange(DOCUMENTS), shards):
        targets = np.concatenate(
            [random.choice(DOCUMENTS, 12, replace=False, p=weights / weights.sum()) for _ in seeds]
        )
        scores = random.integers(0, 5, len(targets)).astype(np.float32)
        found.append(pa.table({"seed": np.repeat(seeds, 12), "target": targets, "score": scores}))
    return found


def best(pairs: pa.Table, cap: int, target: str = "target", score: str = "score") -> set[tuple[int, int]]:
    """(seed, target) of the best `cap` pairs of each target, by sorting."""
    kept, taken = set(), {}
    rows = sorted(pairs.to_pylist(), key=lambda row: (-row[score], row["seed"]))
    for row in rows:
        taken[row[target]] = taken.get(row[target], 0) + 1
        if taken[row[target]] <= cap:
            kept.add((row["seed"], row["target"]))
    return kept


@pytest.mark.parametrize("cap", [1, 3, 12, 1000])
@pytest.mark.parametrize("at_once", [1, 50, 10**6])
def test_the_best_of_every_target(monkeypatch, cap, at_once):
    monkeypatch.setattr(target_cap, "_AT_ONCE", at_once)
    for seed in range(5):
        shards = tables(np.random.default_rng(seed), 1 + 2 * seed)
        chosen = TargetCap(lambda shards=shards: shards, DOCUMENTS, cap)
        kept = pa.concat_tables([shard.filter(chosen.keeps(number, shard)) for number, shard in enumerate(shards)])
        found = set(zip(kept["seed"].to_pylist(), kept["target"].to_pylist(), strict=True))
        assert found == best(pa.concat_tables(shards), cap) and len(found) == len(kept)
        assert (len(kept) < DOCUMENTS * 12) == (cap < DOCUMENTS)


def test_random_pairs_fall_with_those_in_whose_place_they_are():
    random = np.random.default_rng(7)
    shards = []
    for table in tables(random, 3):
        instead = {"instead_of_target": table["target"], "instead_of_score": table["score"]}
        drawn = random.integers(0, DOCUMENTS, len(table))
        drawn_scores = random.random(len(table)).astype(np.float32)
        shards.append(pa.table({"seed": table["seed"], "target": drawn, "score": drawn_scores, **instead}))
    chosen = TargetCap(lambda: shards, DOCUMENTS, 4)
    for shard in shards:
        kept = shard.filter(chosen.keeps(0, shard))
        mined = set(zip(kept["seed"].to_pylist(), kept["instead_of_target"].to_pylist(), strict=True))
        whole = pa.concat_tables(shards).select(["seed", "instead_of_target", "instead_of_score"])
        whole = whole.rename_columns(["seed", "target", "score"])
        ours = {pair for pair in best(whole, 4) if pair[0] in shard["seed"].to_pylist()}
        assert mined == ours and 0 < len(kept) < len(shard)


def test_no_pairs():
    empty = tables(np.random.default_rng(1), 1)[0][:0]
    assert TargetCap(lambda: [empty], DOCUMENTS, 1).keeps(0, empty).tolist() == []
