"""Pairs mined shard by shard are those of all neighbors at once."""

from __future__ import annotations

import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest

from megatron_sbp.base import files
from megatron_sbp.documents.ids import read_ids
from megatron_sbp.pairing.field_rules import no_field_rules
from megatron_sbp.pairing.mined_shards import MinedShard, join_shards, mine_shard, spans_of
from megatron_sbp.pairing.neighbors.neighbor_files import read_neighbors
from megatron_sbp.pairing.neighbors.vectors import Vectors
from megatron_sbp.pairing.pair_writing import mine_pairs
from megatron_sbp.recipe import Pairs


@pytest.mark.parametrize("relation", ["similar", "random"])
@pytest.mark.parametrize(
    ("cuts", "joint"),
    [
        ((), {}),
        ((40, 41, 200), {}),
        ((40, 41, 200), {"max_seeds_per_target": 2}),
        ((40, 41, 200), {"collapse_above": 0.05, "directions": "one", "max_seeds_per_target": 3}),
    ],
)
def test_shards_in_any_order_and_all_at_once(mined, tmp_path, monkeypatch, relation, cuts, joint):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    rules = Pairs(alpha=0.5, max_targets_per_seed=4, relation=relation, **joint)
    documents, embeddings = mined.document_shards("train"), mined.embedding_shards("train")
    tokens = mined.tokens("real")
    found = [read_neighbors(file) for file in mined.neighbor_shards("train")]
    whole = [np.concatenate(column) for column in zip(*found, strict=True)]
    expected = mine_pairs(
        [tuple(whole)], spans_of(tokens), no_field_rules(300), read_ids(documents), rules,
        run_seed=3, output=tmp_path / "whole.parquet", vectors=Vectors(embeddings),
    )  # fmt: skip
    shards = []
    for number, (ids, scores) in enumerate(zip(*(np.split(column, cuts) for column in whole), strict=True)):
        np.savez(tmp_path / f"{number}.npz", ids=ids, scores=scores)
        shards.append(MinedShard(tmp_path / f"{number}.parquet", tmp_path / f"{number}.json"))
    for number in reversed(range(len(shards))):
        mine_shard(
            tmp_path / f"{number}.npz", (0, *cuts)[number], shards[number],
            documents=documents, tokens=tokens, embeddings=embeddings, rules=rules, run_seed=3, label="pairs",
        )  # fmt: skip
    joined = join_shards(
        shards, tmp_path / "joined.parquet",
        documents=documents, tokens=tokens, rules=rules, run_seed=3, split="train",
    )  # fmt: skip
    assert pq.read_table(tmp_path / "joined.parquet").equals(pq.read_table(tmp_path / "whole.parquet"))
    assert joined.kept > 20 and joined.summary() == expected.summary()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    alone = join_shards(
        shards, tmp_path / "alone.parquet",
        documents=documents, tokens=tokens, rules=rules, run_seed=3, split="train",
    )  # fmt: skip
    assert (tmp_path / "alone.parquet").read_bytes() == (tmp_path / "joined.parquet").read_bytes()
    assert alone.summary() == joined.summary() and alone.state() == joined.state()
    assert json.dumps(joined.state(), sort_keys=True) == json.dumps(expected.state(), sort_keys=True)
    fallen = {rule for rule in ("copy", "direction", "target_cap") if joined.dropped.get(rule)}
    names = {"collapse_above": "copy", "directions": "direction", "max_seeds_per_target": "target_cap"}
    assert fallen == {names[key] for key in joint}
    assert joined.state()["examples"] == expected.state()["examples"]
    assert files.read_json(shards[0].audit)["candidates"] > 0
