from __future__ import annotations

import numpy as np

from megatron_sbp.base.files import read_jsonl_zst
from megatron_sbp.documents.ids import ids_file, read_ids
from megatron_sbp.documents.parts import ORDER, Part, PartWriter
from megatron_sbp.documents.reading import Document
from megatron_sbp.documents.shards import write_shard


def test_a_shard_is_a_range_of_keys_over_all_parts(tmp_path):
    documents = [Document(f"id{n}", f"text {n} " + "ö" * n, {}) for n in range(90)]
    parts = []
    for number, chunk in enumerate((documents[:50], documents[50:51], documents[51:])):
        with PartWriter(tmp_path / f"{number}", 3, held_bytes=300) as writer:
            for line, document in enumerate(chunk):
                writer.add(document, line)
        parts.append(Part(tmp_path / f"{number}"))
    keep = [np.ones(len(part), bool) for part in parts]
    keep[0][4] = False
    keys = np.sort(np.concatenate([p.rows[list(ORDER)][k] for p, k in zip(parts, keep, strict=True)]), order=ORDER)
    found, sizes = [], []
    for begin in (0, 40, 80):
        path = tmp_path / "train" / f"{begin}.jsonl.zst"
        last = keys[min(begin + 40, len(keys)) - 1]
        places = [part.between(keys[begin], last) for part in parts]
        kept = [found[stay[found]] for found, stay in zip(places, keep, strict=True)]
        sizes.append(write_shard(path, zip(parts, kept, strict=True)))
        rows = list(read_jsonl_zst(path))
        assert read_ids([path]).to_pylist() == [row["id"] for row in rows] and ids_file(path).exists()
        assert sizes[-1]["characters"] == sum(len(row["text"]) for row in rows)
        assert sizes[-1]["bytes"] == sum(len(row["text"].encode()) for row in rows)
        found += [row["id"] for row in rows]
    assert [size["documents"] for size in sizes] == [40, 40, 9]
    order = {tuple(row[list(ORDER)].tolist()): line for part in parts for row, line in zip(
        part.rows, part.read(np.arange(len(part))), strict=True)}  # fmt: skip
    assert [order[tuple(key.tolist())].split(b'"')[3].decode() for key in keys] == found
