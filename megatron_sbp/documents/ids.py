"""Ids of documents, in separate files beside the shards: a task that needs ids need not read the texts.

documents/SPLIT/NNNNN.jsonl.zst      the documents
documents/ids/SPLIT/NNNNN.parquet their ids, column `id`, in the same order, and digests of the kept fields
(field_values.py)
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from megatron_sbp.base import files
from megatron_sbp.base.shard_names import JSONL_ZST
from megatron_sbp.base.side_by_side import side_by_side

_PREFIX = b'{"id":"'


def ids_file(shard: Path) -> Path:
    """Path of a shard's id file."""
    return shard.parents[1] / "ids" / shard.parent.name / f"{shard.name.removesuffix(JSONL_ZST)}.parquet"


def write_ids(shard: Path, ids: Iterable[str], further: Mapping[str, np.ndarray] | None = None) -> Path:
    """Writes the ids of a shard, atomically.

    Args:
        shard: its file.
        ids: of its rows.
        further: additional columns.

    Returns:
        The file written.
    """
    file = ids_file(shard)
    with files.atomic_path(file) as partial:
        columns = {"id": pa.array(ids, pa.large_string()), **(further or {})}
        pq.write_table(pa.table(columns), partial, compression="zstd")
    return file


def read_ids(shards: Sequence[Path]) -> pa.ChunkedArray:
    """Ids of the documents of some documents/ shards, in order: large_string [documents].

    If a shard has no id file, the shard itself is read.
    """
    chunks = itertools.chain.from_iterable(side_by_side(_ids_of_shard, shards))
    return pa.chunked_array(list(chunks), pa.large_string())


def _ids_of_shard(shard: Path) -> list[pa.Array]:
    file = ids_file(shard)
    if file.exists():
        return pq.read_table(file, columns=["id"])["id"].chunks
    with files.open_lines(shard) as lines:
        return [pa.array(map(id_of, lines), pa.large_string())]


def take_ids(ids: pa.ChunkedArray, rows: pa.ChunkedArray) -> pa.ChunkedArray:
    """Ids of some rows, in their order and chunks, with memory for these rows only.

    `ChunkedArray.take` joins the ids of all documents at every call: gigabytes, for every shard of pairs.

    Args:
        ids: of all documents, as `read_ids` gives them.
        rows: int64 [n].
    """
    wanted = rows.to_numpy()
    order = np.argsort(wanted, kind="stable")
    ascending = wanted[order]
    begins = np.cumsum([0, *map(len, ids.chunks)])
    cuts = np.searchsorted(ascending, begins).tolist()
    taken = [
        chunk.take(pa.array(ascending[low:high] - begin))
        for chunk, begin, low, high in zip(ids.chunks, begins, cuts, cuts[1:], strict=False)
        if low < high
    ]
    places = np.empty(len(wanted), np.int64)
    places[order] = np.arange(len(wanted))
    bounds = np.cumsum([0, *map(len, rows.chunks)]).tolist()
    joined = pa.concat_arrays(taken) if taken else pa.array([], ids.type)
    return pa.chunked_array(
        [joined.take(pa.array(places[low:high])) for low, high in itertools.pairwise(bounds)], ids.type
    )


def noted_count(shard: Path) -> int | None:
    """Number of rows of a .jsonl.zst file from its id file; None if there is none."""
    file = ids_file(shard)
    return pq.read_metadata(file).num_rows if file.exists() else None


def count_documents(shard: Path) -> int:
    """Number of rows of a .jsonl.zst file, from its id file if there is one."""
    noted = noted_count(shard)
    if noted is not None:
        return noted
    count = 0
    with files.open_lines(shard) as lines:
        while block := lines.read(1 << 20):
            count += block.count(b"\n")
    return count


def id_of(line: bytes) -> str:
    """The id in a row of documents/, without parsing the other fields."""
    # In documents/ the id comes first. An id with an escape takes the slow path.
    if line.startswith(_PREFIX):
        id, quote, _ = line[len(_PREFIX) : len(_PREFIX) + 1024].partition(b'"')
        if quote and b"\\" not in id:
            return id.decode()
    return json.loads(line)["id"]
