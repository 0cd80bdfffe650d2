"""Ids of documents, from their own files and from the documents."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from megatron_sbp.base import files
from megatron_sbp.documents.ids import id_of, ids_file, read_ids, take_ids, write_ids

IDS = ["plain", 'with "quotes"', "with \\ and \n", "Ω-42", "", "x" * 3000, 'a","text":"b']


def test_both_ways_give_the_same(tmp_path):
    shards = [tmp_path / "train" / "00000.jsonl.zst", tmp_path / "train" / "00001.jsonl.zst"]
    for shard, ids in zip(shards, (IDS[:3], IDS[3:]), strict=True):
        files.write_jsonl_zst(shard, [{"id": id, "text": f"text of {id}"} for id in ids])
    assert read_ids(shards).to_pylist() == IDS
    with files.open_lines(shards[1]) as lines:
        assert (
            write_ids(shards[1], map(id_of, lines))
            == ids_file(shards[1])
            == tmp_path / "ids" / "train" / "00001.parquet"
        )
    shards[1].write_bytes(b"not read")
    assert read_ids(shards).to_pylist() == IDS
    assert read_ids([]).to_pylist() == []


def test_spaces_in_a_row_are_no_hindrance(tmp_path):
    file = write_ids(tmp_path / "test" / "00000.jsonl.zst", ["a"])
    assert file.exists() and read_ids([tmp_path / "test" / "00000.jsonl.zst"]).to_pylist() == ["a"]


@pytest.mark.slow
def test_ids_of_a_run(mined):
    for split, count in (("train", 300), ("valid", 100)):
        shards = mined.document_shards(split)
        assert all(ids_file(shard).exists() for shard in shards)
        expected = [row["id"] for shard in shards for row in files.read_jsonl_zst(shard)]
        assert read_ids(shards).to_pylist() == expected and len(expected) == count


@pytest.mark.parametrize("cuts", [[], [0, 7], [1, 300, 300]])
def test_ids_of_some_rows_come_in_their_order_and_chunks(cuts):
    names = pa.chunked_array(
        [[f"id{n}" for n in range(low, low + 40)] for low in (0, 40, 80)] + [[]], pa.large_string()
    )
    random = np.random.default_rng(1).integers(0, 120, 300)
    for rows in (random, np.arange(40, 45), random[:0]):
        asked = pa.chunked_array(np.split(rows, [min(cut, len(rows)) for cut in cuts]), pa.int64())
        found, expected = take_ids(names, asked), names.take(asked)
        assert found.to_pylist() == expected.to_pylist() == [f"id{row}" for row in rows]
        assert [len(chunk) for chunk in found.chunks] == [len(chunk) for chunk in asked.chunks]


def test_ids_of_some_rows_take_memory_for_these_alone():
    chunk = pa.array([f"document-{n:022d}" for n in range(10_000)], pa.large_string())
    names, rows = pa.chunked_array([chunk] * 100), pa.chunked_array([np.arange(0, 1_000_000, 10_000)])
    pool, former = pa.proxy_memory_pool(pa.default_memory_pool()), pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        take_ids(names, rows)
    finally:
        pa.set_memory_pool(former)
    assert pool.max_memory() < 1_000_000  # all ids joined have 39 MB
