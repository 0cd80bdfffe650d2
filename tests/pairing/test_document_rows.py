from __future__ import annotations

from megatron_sbp.base import files
from megatron_sbp.pairing.document_rows import read_rows


def test_some_rows_over_all_shards(tmp_path):
    shards = [tmp_path / "00000.jsonl.zst", tmp_path / "00001.jsonl.zst"]
    files.write_jsonl_zst(shards[0], [{"id": str(row), "text": f"text {row}"} for row in range(3)])
    files.write_jsonl_zst(shards[1], [{"id": str(row), "text": f"text {row}"} for row in range(3, 7)])
    rows = read_rows(shards, {1, 3, 6})
    assert {number: row["text"] for number, row in rows.items()} == {1: "text 1", 3: "text 3", 6: "text 6"}
    assert read_rows(shards, set()) == {}
