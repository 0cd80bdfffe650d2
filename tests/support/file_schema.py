"""What files of a run folder hold: keys and types of JSON, columns of tables, dtypes and dimensions of arrays."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet

from megatron_sbp.base import files
from megatron_sbp.tokenization.indexed import open_indexed


@dataclass
class Schema:
    """Of all values at the same place.

    Attributes:
        types: of the values, with the columns, or the dtype and number of dimensions, of what is no JSON.
        keys: of the dicts among them.
        always: keys that each of these dicts has.
        items: of what is in the lists among them.
    """

    types: set[str] = field(default_factory=set)
    keys: dict[str, Schema] = field(default_factory=dict)
    always: set[str] | None = None
    items: Schema | None = None

    def add(self, value: object, maps: Collection[str] = (), place: str = "") -> None:
        """Takes a value of JSON in; `maps` and `place` as for `schema_of`."""
        self.types.add(type(value).__name__)
        if isinstance(value, list) or (isinstance(value, Mapping) and place in maps):
            self.items = self.items or Schema()
            for item in value.values() if isinstance(value, Mapping) else value:
                self.items.add(item, maps, f"{place}[]")
        elif isinstance(value, Mapping):
            self.always = set(value) if self.always is None else self.always & set(value)
            for key, below in value.items():
                self.keys.setdefault(key, Schema()).add(below, maps, f"{place}.{key}")


def schema_of(paths: Iterable[Path], maps: Collection[str] = ()) -> Schema:
    """The schema of files that are shards of the same.

    Args:
        paths: the files.
        maps: places of dicts whose keys are data, such as names of files, as `differences` writes places: their values
            are compared as those of a list.
    """
    schema = Schema()
    for path in paths:
        for value in _values(path):
            schema.add(value, maps)
    return schema


def _values(path: Path) -> Iterator[object]:
    if path.name.endswith(".jsonl.zst"):
        yield from files.read_jsonl_zst(path)
    elif path.suffix == ".jsonl":
        # Rows of several kinds: what one kind lacks, another may have.
        for row in map(json.loads, path.read_text().splitlines()):
            yield {row["kind"]: row} if "kind" in row else row
    elif path.suffix == ".json":
        yield files.read_json(path)
    elif path.suffix == ".parquet":
        yield {column.name: {str(column.type): None} for column in pyarrow.parquet.read_schema(path)}
    elif path.suffix == ".npy":
        yield _array(np.load(path, mmap_mode="r"))
    elif path.suffix == ".npz":
        with np.load(path) as arrays:
            yield {name: _array(arrays[name]) for name in arrays.files}
    elif path.suffix == ".idx":
        yield _array(open_indexed(path.with_suffix("")).tokens)
    else:
        raise ValueError(f"{path}: no schema of such files is known")


def _array(array: np.ndarray) -> dict[str, Any]:
    return {f"{array.dtype} [{array.ndim}]": None}


def differences(ours: Schema, theirs: Schema, place: str = "") -> Iterator[str]:
    """What `ours` has that `theirs` has not, and which keys it lacks that `theirs` always has; one line each."""
    if ours.types - theirs.types:
        yield f"{place or '.'}: {'|'.join(sorted(ours.types))} instead of {'|'.join(sorted(theirs.types))}"
    for key in sorted(ours.keys.keys() - theirs.keys.keys()):
        yield f"{place}.{key}: unknown"
    if ours.always is not None:
        for key in sorted((theirs.always or set()) - ours.always):
            yield f"{place}.{key}: missing"
    for key in sorted(ours.keys.keys() & theirs.keys.keys()):
        yield from differences(ours.keys[key], theirs.keys[key], f"{place}.{key}")
    if ours.items is not None and theirs.items is not None:
        yield from differences(ours.items, theirs.items, f"{place}[]")
