"""Shards of documents/, cut from the parts of a corpus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import zstandard

from megatron_sbp.base import files
from megatron_sbp.documents.field_values import column_of, values_of
from megatron_sbp.documents.ids import write_ids
from megatron_sbp.documents.parts import ORDER, Part


def write_shard(path: Path, pieces: Iterable[tuple[Part, np.ndarray]], fields: Sequence[str] = ()) -> dict[str, int]:
    """Writes one shard, atomically, and its ids. Holds its documents in memory.

    Args:
        path: documents/SPLIT/NNNNN.jsonl.zst.
        pieces: parts of the corpus, and the rows of the shard in each: int64 [n], ascending.
        fields: kept fields, whose digests are written beside the ids.

    Returns:
        `documents`, and `characters` and `bytes` of their texts.
    """
    tables: list[np.ndarray] = []
    lines: list[bytes] = []
    for part, places in pieces:
        tables.append(part.rows[places])
        lines += part.read(places)
    rows = np.concatenate(tables)
    order = np.lexsort([rows[name] for name in reversed(ORDER)]).tolist()
    with files.atomic_path(path) as partial, open(partial, "wb") as raw:
        with zstandard.ZstdCompressor(level=6).stream_writer(raw, closefd=False) as compressed:
            for block in _blocks(lines, order):
                compressed.write(block)
    values = values_of(lines, fields)[:, order] if fields else ()
    write_ids(path, (lines[number] for number in order), dict(zip(map(column_of, fields), values, strict=True)))
    return {
        "documents": len(rows),
        "characters": int(rows["characters"].sum(dtype=np.int64)),
        "bytes": int(rows["bytes"].sum(dtype=np.int64)),
    }


def _blocks(lines: list[bytes], order: list[int], count: int = 256) -> Iterator[bytes]:
    """Lines in an order, some at a time: the compressor works without Python's lock, which other threads need."""
    for begin in range(0, len(order), count):
        yield b"".join(lines[number] + b"\n" for number in order[begin : begin + count])
