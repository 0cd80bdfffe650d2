"""Synthetic documents as parquet."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from megatron_sbp.base import files
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.tokenization.documents import PARENTS

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("tokens", pa.int32()),
        pa.field("finished", pa.bool_()),
        *(field for field in PARENTS if field.name != "id"),
    ]
)
"""Text, and the parents of every document; null where they do not apply to a kind of synthesizer."""

_ROWS = 4096


def write_parquet(
    shards: Sequence[Path], folder: Path, advance: Callable[[int], None] | None = None, file_bytes: int = 256 << 20
) -> tuple[list[Path], int]:
    """Writes synthetic documents to parquet files (zstd), in order.

    Memory: a row group of 4,096 documents.

    Args:
        shards: NNNNN.jsonl.zst.
        folder: gets train-NNNNN-of-NNNNN.parquet.
        advance: called with the number of documents written since the last call.
        file_bytes: compressed bytes of shards that go into one file; the hub prefers folders with few files.

    Returns:
        The files, and the number of documents.
    """
    folder.mkdir(parents=True, exist_ok=True)
    together = _together(shards, file_bytes)
    written, documents = [], 0
    for number, part in enumerate(together):
        target = folder / f"train-{number:05d}-of-{len(together):05d}.parquet"
        with pq.ParquetWriter(target, SCHEMA, compression="zstd") as writer:
            read = itertools.chain.from_iterable(files.read_jsonl_zst(shard) for shard in part)
            for rows in itertools.batched(read, _ROWS):
                writer.write_table(pa.Table.from_pylist([_row(row) for row in rows], schema=SCHEMA))
                documents += len(rows)
                if advance:
                    advance(len(rows))
        written.append(target)
    return written, documents


def _together(shards: Sequence[Path], file_bytes: int) -> list[list[Path]]:
    """Shards, in order, that go into one file each."""
    found: list[list[Path]] = []
    room = 0
    for shard in shards:
        size = shard.stat().st_size
        if not found or size > room:
            found.append([])
            room = file_bytes
        found[-1].append(shard)
        room -= size
    return found


def _row(row: JsonObject) -> JsonObject:
    return {name: row.get(name, 1 if name == "round" else None) for name in SCHEMA.names}
