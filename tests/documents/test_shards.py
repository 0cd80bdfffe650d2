from __future__ import annotations

import numpy as np
import zstandard

from megatron_sbp.base.files import read_jsonl_zst
from megatron_sbp.documents import shards
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


def test_a_shard_larger_than_what_is_held_has_the_same_bytes(tmp_path, monkeypatch):
    """As the version before wrote it: all lines sorted in memory, the compressor given 256 at a time."""
    parts = []
    for number in range(3):
        with PartWriter(tmp_path / f"{number}", 3, held_bytes=200_000) as writer:
            for line in range(1, 700):
                text = f"text {number} {line} " + "word " * (line % 50)
                writer.add(Document(f"{number}-{line}", text, {"n": line % 7}), line)
        parts.append(Part(tmp_path / f"{number}"))
    pieces = [(part, np.flatnonzero(np.arange(len(part)) % 5 > 0)) for part in parts]
    rows = np.concatenate([part.rows[places] for part, places in pieces])
    lines = [line for part, places in pieces for line in part.read(places)]
    order = np.lexsort([rows[name] for name in reversed(ORDER)]).tolist()
    with open(tmp_path / "expected", "wb") as raw:
        with zstandard.ZstdCompressor(level=6).stream_writer(raw, closefd=False) as compressed:
            for begin in range(0, len(order), 256):
                compressed.write(b"".join(lines[number] + b"\n" for number in order[begin : begin + 256]))
    told, ids = set(), set()
    for held in (1, 60_000, 200_000, 1 << 30):
        monkeypatch.setattr(shards, "HELD", held)
        path = tmp_path / f"{held}" / "train" / "00000.jsonl.zst"
        told.add(tuple(write_shard(path, pieces, ["n"]).values()))
        assert path.read_bytes() == (tmp_path / "expected").read_bytes()
        ids.add(ids_file(path).read_bytes())
    assert len(told) == len(ids) == 1 and len(rows) > 1500


def test_no_more_is_read_at_a_time_than_is_held(tmp_path, monkeypatch):
    with PartWriter(tmp_path / "0", 3) as writer:
        for line in range(2000):
            writer.add(Document(str(line), "x" * 1000, {}), line)
    part, sizes, lines_of = Part(tmp_path / "0"), [], shards._lines

    def noted(pieces, wanted):
        lines = lines_of(pieces, wanted)
        sizes.append(sum(map(len, lines)))
        return lines

    monkeypatch.setattr(shards, "HELD", 600_000)
    monkeypatch.setattr(shards, "_lines", noted)
    write_shard(tmp_path / "train" / "0.jsonl.zst", [(part, np.arange(2000))])
    assert max(sizes) <= 600_000 and sum(sizes) == part.size
