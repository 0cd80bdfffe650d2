"""Ids and texts of documents by their row over all shards of a split."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from megatron_sbp.base import files

_PREFIX = b'{"id":"'


def read_ids(shards: Sequence[Path]) -> pa.ChunkedArray:
    """Ids of the documents of some documents/ shards, in order: large_string [documents].

    The rest of a row is not parsed, since ids are a small part of what has to be read.
    """
    chunks = []
    for shard in shards:
        with files.open_lines(shard) as lines:
            chunks.append(pa.array([_id(line) for line in lines], pa.large_string()))
    return pa.chunked_array(chunks, pa.large_string())


def read_rows(shards: Sequence[Path], rows: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Some documents, by row number; reads the shards up to the last of them."""
    wanted = set(rows)
    found: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(_lines(shards)):
        if len(found) == len(wanted):
            break
        if number in wanted:
            found[number] = json.loads(line)
    return found


def _lines(shards: Sequence[Path]) -> Iterator[bytes]:
    for shard in shards:
        with files.open_lines(shard) as lines:
            yield from lines


def _id(line: bytes) -> str:
    # documents/ has the id first. An id with an escape in it goes the long way.
    if line.startswith(_PREFIX):
        id, quote, _ = line[len(_PREFIX) : len(_PREFIX) + 1024].partition(b'"')
        if quote and b"\\" not in id:
            return id.decode()
    return json.loads(line)["id"]
