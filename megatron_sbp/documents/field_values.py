"""64-bit digests of documents' field values: enough to tell whether two documents have the same value.

They are columns of the id files (documents/ids), one per kept field: a task that compares fields across the corpus need
not read the texts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from megatron_sbp.base import files
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.documents.ids import ids_file

MISSING = 0
"""Marks a field that is null or missing."""


def digest_of(value: object) -> int:
    """64-bit digest of a JSON value; equal values have equal digests, except 1 and 1.0. Null gives MISSING."""
    if value is None:
        return MISSING
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") or 1


def column_of(field: str) -> str:
    """Column name of a field in an id file."""
    return f"field {field}"


def values_of(lines: Iterable[bytes], fields: Sequence[str]) -> np.ndarray:
    """Digests of some fields of rows of documents/: uint64 [fields, rows]."""
    rows = [[digest_of(row.get(field)) for field in fields] for row in map(_without_text, lines)]
    return np.array(rows, np.uint64).reshape(-1, len(fields)).T


def _without_text(line: bytes) -> JsonObject:
    """The kept fields of a row, without parsing its text, which is nearly all of it."""
    # In documents/ they come after the text. A quote without a backslash before it ends a string.
    _, found, after = line.partition(b'"text":"')
    text, comma, kept = after.partition(b'","')
    plain = found and comma and not text.endswith(b"\\")
    return json.loads(b'{"' + kept if plain else line)


def read_values(shards: Sequence[Path], fields: Sequence[str]) -> np.ndarray:
    """Digests of some fields of all documents in some documents/ shards, in order: uint64 [fields, documents].

    If a shard's id file lacks one of the fields, the shard itself is read.
    """
    columns = [column_of(field) for field in fields]
    found = []
    for shard in shards:
        file = ids_file(shard)
        if file.exists() and set(columns) <= set(pq.read_schema(file).names):
            table = pq.read_table(file, columns=columns)
            found.append(np.stack([table[column].to_numpy() for column in columns]))
            continue
        with files.open_lines(shard) as lines:
            found.append(values_of(lines, fields))
    return np.concatenate(found, axis=1)
