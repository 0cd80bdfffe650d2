from __future__ import annotations

from megatron_sbp.base import files
from megatron_sbp.pairing.document_ids import read_ids, read_rows

IDS = ["plain", 'with "quotes"', "with \\ and \n", "Ω-42", "", "x" * 3000, 'a","text":"b']


def test_ids_and_rows(tmp_path):
    shards = [tmp_path / "00000.jsonl.zst", tmp_path / "00001.jsonl.zst"]
    files.write_jsonl_zst(shards[0], [{"id": id, "text": f"text of {id}"} for id in IDS[:3]])
    files.write_jsonl_zst(shards[1], [{"id": id, "text": f"text of {id}"} for id in IDS[3:]])
    assert read_ids(shards).to_pylist() == IDS
    rows = read_rows(shards, {1, 3, 6})
    assert {number: row["id"] for number, row in rows.items()} == {1: IDS[1], 3: IDS[3], 6: IDS[6]}
    assert rows[6]["text"] == f"text of {IDS[6]}"
    assert read_rows(shards, set()) == {}


def test_ids_of_a_run(mined):
    shards = mined.document_shards("train")
    expected = [row["id"] for shard in shards for row in files.read_jsonl_zst(shard)]
    assert read_ids(shards).to_pylist() == expected and len(expected) == 300
