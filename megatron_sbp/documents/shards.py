"""Writes shards of documents/ from the parts of a corpus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import zstandard

from megatron_sbp.base import files
from megatron_sbp.documents.field_values import column_of, values_of
from megatron_sbp.documents.ids import id_of, write_ids
from megatron_sbp.documents.parts import ORDER, Part

HELD = 64 << 20
"""Maximum bytes of documents in memory. A larger shard is read, sorted, and written in pieces."""

_BLOCK = 256
"""Documents per compressor call, which releases the GIL for other threads."""


def write_shard(path: Path, pieces: Iterable[tuple[Part, np.ndarray]], fields: Sequence[str] = ()) -> dict[str, int]:
    """Writes one shard, atomically, and its ids. Holds its records and ids, and `HELD` bytes of documents, in memory.

    Args:
        path: documents/SPLIT/NNNNN.jsonl.zst.
        pieces: parts of the corpus, and the shard's rows in each: int64 [n], ascending.
        fields: kept fields, whose digests are written beside the ids.

    Returns:
        `documents`, and `characters` and `bytes` of their texts.
    """
    found = list(pieces)
    rows = np.concatenate([part.rows[places] for part, places in found])
    order = np.lexsort([rows[name] for name in reversed(ORDER)])
    ids: list[str] = []
    values: list[np.ndarray] = []
    with files.atomic_path(path) as partial, open(partial, "wb") as raw:
        with zstandard.ZstdCompressor(level=6).stream_writer(raw, closefd=False) as compressed:
            for some in _portions(order, rows["length"]):
                lines = _lines(found, some)
                for begin in range(0, len(lines), _BLOCK):
                    compressed.write(b"".join(line + b"\n" for line in lines[begin : begin + _BLOCK]))
                ids += map(id_of, lines)
                if fields:
                    values.append(values_of(lines, fields))
                del lines  # before the next ones are read
    columns = np.concatenate(values, axis=1) if fields else ()
    write_ids(path, ids, dict(zip(map(column_of, fields), columns, strict=True)))
    return {
        "documents": len(rows),
        "characters": int(rows["characters"].sum(dtype=np.int64)),
        "bytes": int(rows["bytes"].sum(dtype=np.int64)),
    }


def _portions(order: np.ndarray, lengths: np.ndarray) -> Iterator[np.ndarray]:
    """Slices of a shard's rows of at most `HELD` bytes, or one block. They consist of whole blocks, so the compressor's
    input does not depend on the slicing."""
    ends = np.cumsum(lengths[order], dtype=np.int64)
    begin = 0
    while begin < len(order):
        done = int(ends[begin - 1]) if begin else 0
        fitting = int(np.searchsorted(ends, done + HELD, side="right")) - begin
        end = begin + max(1, fitting // _BLOCK) * _BLOCK
        if begin + fitting == len(order):
            end = len(order)
        yield order[begin:end]
        begin = end


def _lines(pieces: Sequence[tuple[Part, np.ndarray]], wanted: np.ndarray) -> list[bytes]:
    """JSON lines of some rows of a shard.

    Args:
        pieces: see `write_shard`.
        wanted: positions among the rows of all pieces, int64 [n].
    """
    ascending = np.sort(wanted)
    ends = np.cumsum([len(places) for _, places in pieces])
    cuts = np.searchsorted(ascending, ends)
    lines: list[bytes] = []
    for (part, places), before, low, high in zip(pieces, [0, *ends], [0, *cuts], cuts, strict=False):
        lines += part.read(places[ascending[low:high] - before])
    return [lines[place] for place in np.searchsorted(ascending, wanted).tolist()]
