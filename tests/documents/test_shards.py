from __future__ import annotations

import subprocess
import sys

from megatron_sbp.base.files import read_jsonl_zst
from megatron_sbp.documents.ids import ids_file, read_ids
from megatron_sbp.documents.shards import ShardWriter


def test_rows_come_out_sorted_whatever_is_held_in_memory(tmp_path):
    results = []
    for held in (10, 200, 1 << 20):
        folder = tmp_path / str(held)
        writer = ShardWriter(folder / ".sorting", held_bytes=held)
        paths = [folder / "train" / "00000.jsonl.zst", folder / "train" / "00001.jsonl.zst"]
        for place in [7, 3, 12, 5, 1, 30, 2]:
            writer.add(("train", place % 2), place, b'{"id":"%d","n":%d,"t":"a\\tb"}' % (place, place))
        for number, path in enumerate(paths):
            assert writer.finish(("train", number), path) == [path, ids_file(path)]
        assert read_ids(paths).to_pylist() == ["2", "12", "30", "1", "3", "5", "7"]
        writer.close()
        assert not (folder / ".sorting").exists()
        assert [[row["n"] for row in read_jsonl_zst(path)] for path in paths] == [[2, 12, 30], [1, 3, 5, 7]]
        results.append([path.read_bytes() for path in paths])
    assert results[0] == results[1] == results[2]


def test_two_processes_do_not_mix(tmp_path):
    """A second process with the same folder leaves the first one's files alone; what a dead one left is removed."""
    program = (
        "import sys; from pathlib import Path; from megatron_sbp.documents.shards import ShardWriter\n"
        'writer = ShardWriter(Path(sys.argv[1]), held_bytes=0); writer.add((\'train\', 0), 1, b\'{"id":"9","n":9}\')'
    )
    scratch, path = tmp_path / ".sorting", tmp_path / "train" / "00000.jsonl.zst"
    writer = ShardWriter(scratch, held_bytes=0)
    writer.add(("train", 0), 1, b'{"id":"1","n":1}')
    subprocess.run([sys.executable, "-c", program, str(scratch)], check=True)  # ends without `close`
    writer.finish(("train", 0), path)
    assert [row["n"] for row in read_jsonl_zst(path)] == [1]
    assert len(list(scratch.iterdir())) == 2
    writer.close()
    ShardWriter(scratch).close()
    assert not scratch.exists()
