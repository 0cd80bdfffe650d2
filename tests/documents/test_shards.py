from __future__ import annotations

from megatron_sbp.base.files import read_jsonl_zst
from megatron_sbp.documents.shards import ShardWriter


def test_rows_come_out_sorted_whatever_is_held_in_memory(tmp_path):
    results = []
    for held in (10, 200, 1 << 20):
        folder = tmp_path / str(held)
        writer = ShardWriter(folder / ".sorting", held_bytes=held)
        paths = [folder / "train" / "00000.jsonl.zst", folder / "train" / "00001.jsonl.zst"]
        for place in [7, 3, 12, 5, 1, 30, 2]:
            writer.add(("train", place % 2), place, b'{"n":%d,"t":"a\\tb"}' % place)
        for number, path in enumerate(paths):
            writer.finish(("train", number), path)
        writer.close()
        assert not (folder / ".sorting").exists()
        assert [[row["n"] for row in read_jsonl_zst(path)] for path in paths] == [[2, 12, 30], [1, 3, 5, 7]]
        results.append([path.read_bytes() for path in paths])
    assert results[0] == results[1] == results[2]
