"""Reads documents by row number over all shards of a split."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.documents.ids import noted_count


def read_rows(shards: Iterable[Path], rows: Iterable[int]) -> dict[int, JsonObject]:
    """Some documents, by row number: see `rows_of`."""
    return dict(rows_of(shards, rows))


def rows_of(shards: Iterable[Path], wanted: Iterable[int]) -> Iterator[tuple[int, JsonObject]]:
    """Yields the requested rows (counted over all shards) in ascending order, with their numbers.

    Only these rows are parsed, and a shard with a file of ids is opened only if it contains one of them.

    Args:
        shards: .jsonl.zst files in order.
        wanted: row numbers, in any order; those beyond the end are ignored.
    """
    left = sorted(set(map(int, wanted)), reverse=True)
    number = 0
    for shard in shards:
        if not left:
            return
        count = noted_count(shard)
        if count is not None and number + count <= left[-1]:
            number += count
            continue
        with files.open_lines(shard) as lines:
            for line in lines:
                if number == left[-1]:
                    yield left.pop(), json.loads(line)
                    if not left:
                        return
                number += 1
