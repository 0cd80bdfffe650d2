"""Synthetic documents in parquet files, in order, with the parents of each."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pyarrow.parquet as pq
import pytest

from megatron_sbp.base import files
from megatron_sbp.publishing import parquet
from megatron_sbp.publishing.parquet import SCHEMA, write_parquet
from megatron_sbp.tokenization.documents import PARENTS


def row(number: int, **more) -> dict:
    """As the synthesizer writes it; what a file of the hub has no column for is left out."""
    written = {"seed_id": f"d{number}", "seed_row": number, "generation": 0, "synthesizer": "ab" * 32}
    sampling = {"temperature": 1.0, "top_p": 0.9, "run_seed": 1, "ids_digest": "left out", "token_ids": "left out"}
    sampling |= {"max_new_tokens": 50, "engine": "vllm", "precision": "bf16", "pairs": "cd" * 32}
    return {
        "id": f"syn-{number}-0",
        "text": f"text {number} ü",
        "tokens": 5,
        "finished": True,
        **written,
        **sampling,
    } | more


@pytest.fixture
def shards(tmp_path) -> list[Path]:
    paths = [tmp_path / f"{number:05d}.jsonl.zst" for number in range(4)]
    for path, rows in zip(paths, (range(3), range(0), range(3, 9), range(9, 10)), strict=True):
        files.write_jsonl_zst(path, (row(number) for number in rows))
    return paths


def read(paths: list[Path]) -> list[dict]:
    return pyarrow.concat_tables([pq.read_table(path) for path in paths]).to_pylist()


def test_every_document_with_its_parents(shards, tmp_path):
    told: list[int] = []
    paths, documents = write_parquet(shards, tmp_path / "data", told.append)
    assert [path.name for path in paths] == ["train-00000-of-00001.parquet"] and documents == sum(told) == 10
    rows = read(paths)
    assert [each["id"] for each in rows] == [f"syn-{number}-0" for number in range(10)]
    for number, each in enumerate(rows):
        expected = row(number)
        assert set(each) == set(SCHEMA.names) and each["round"] == 1 and each["replaced"] is None
        assert {"pairs", "engine", "precision", "max_new_tokens"} < set(each)
        assert all(each[key] == value for key, value in expected.items() if key in each and key != "top_p")
        assert each["top_p"] == pytest.approx(0.9)
    assert pq.read_metadata(paths[0]).row_group(0).column(1).compression == "ZSTD"


def test_all_parents_have_a_column():
    assert {field.name for field in PARENTS} <= set(SCHEMA.names) and len(set(SCHEMA.names)) == len(SCHEMA.names)


def test_a_text_without_a_seed_and_of_a_second_round(tmp_path):
    shard = tmp_path / "00000.jsonl.zst"
    files.write_jsonl_zst(shard, [row(0, seed_id=None, seed_row=None, round=2, replaced=0.25)])
    [found] = read(write_parquet([shard], tmp_path / "data")[0])
    assert (found["seed_id"], found["seed_row"], found["round"]) == (None, None, 2)
    assert found["replaced"] == pytest.approx(0.25)


def test_large_corpora_come_in_several_files_with_the_same_rows(shards, tmp_path):
    whole, _ = write_parquet(shards, tmp_path / "one")
    parts, documents = write_parquet(shards, tmp_path / "many", file_bytes=1)
    assert [part.name for part in parts] == [f"train-0000{number}-of-00004.parquet" for number in range(4)]
    assert documents == 10 and read(parts) == read(whole)


def test_shards_go_together_as_long_as_they_fit(shards, tmp_path):
    alike = [shards[0]] * 5
    parts, documents = write_parquet(alike, tmp_path / "data", file_bytes=2 * shards[0].stat().st_size)
    assert [pq.read_metadata(part).num_rows for part in parts] == [6, 6, 3] and documents == 15


def test_a_row_group_bounds_memory(shards, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "_ROWS", 4)
    [path], _ = write_parquet(shards, tmp_path / "data")
    groups = pq.read_metadata(path)
    assert [groups.row_group(number).num_rows for number in range(groups.num_row_groups)] == [4, 4, 2]


def test_no_documents(tmp_path):
    assert write_parquet([], tmp_path / "data") == ([], 0) and (tmp_path / "data").is_dir()
