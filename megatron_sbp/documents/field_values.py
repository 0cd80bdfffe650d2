"""Values of fields of documents as 64-bit digests: enough to tell whether two documents have the same one.

They are columns of the files of ids (documents/ids), one per kept field: a task that compares fields of documents all
over the corpus does not read the texts.
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
    """64 bits of a value that JSON can hold; equal values have equal ones, 1 and 1.0 do not. Null has MISSING."""
    if value is None:
        return MISSING
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") or 1


def column_of(field: str) -> str:
    """Name of the column of a field in a file of ids."""
    return f"field {field}"


def values_of(lines: Iterable[bytes], fields: Sequence[str]) -> np.ndarray:
    """Digests of some fields of rows of documents/: uint64 [fields, rows]."""
    rows = [[digest_of(row.get(field)) for field in fields] for row in map(_without_text, lines)]
    return np.array(rows, np.uint64).reshape(-1, len(fields)).T


def _without_text(line: bytes) -> JsonObject:
    """The kept fields of a row; its text, nearly all of it, is not parsed."""
    # In documents/ they come after the text. A quote without a backslash before it ends a string.
    _, found, after = line.partition(b'"text":"')
    text, comma, kept = after.partition(b'","')
    plain = found and comma and not text.endswith(b"\\")
    return json.loads(b'{"' + kept if plain else line)


def read_values(shards: Sequence[Path], fields: Sequence[str]) -> np.ndarray:
    """Digests of some fields of all documents of some documents/ shards, in order: uint64 [fields, documents].

    A shard whose file of ids lacks one of the fields is read itself.
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
