"""Which shards of documents/ are written: a process killed in the last step loses only those that it was writing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.documents.ids import ids_file
from megatron_sbp.documents.parts import ORDER, Part, part_files

NAME = "written.jsonl"
"""Beside the parts that the shards are cut from."""


class WrittenShards:
    """The shards that an interrupted process wrote from the same parts, and a place to note further ones.

    A line per shard has its name, the keys of its first and last document, its figures, and the size and time of its
    files; a line that a crash cut off is not read. The first line is a digest of what shards are cut from. If it is
    another, nothing counts as written.

    Args:
        file: of the notes; made here if it is missing or was about other parts.
        parts: of the corpus.
        keep: bool [documents] per part: which documents stay.
        fields: kept fields, whose digests are written beside the ids.
    """

    def __init__(self, file: Path, parts: Sequence[Part], keep: Sequence[np.ndarray], fields: Sequence[str]):
        self._file, self._notes = file, {}
        head = {"cut_from": _digest(parts, keep, fields)}
        rows = _rows(file)
        if rows[:1] == [head]:
            self._notes = {row["shard"]: row for row in rows[1:]}
        # Written again even if it stays: another line must not be added to one that was cut off.
        files.write_text(file, "".join(json.dumps(row) + "\n" for row in [head, *self._notes.values()]))

    def figures(self, shard: Path, first: np.void, last: np.void) -> dict[str, int] | None:
        """What `shards.write_shard` returned; None unless the shard is there as it was written."""
        note = self._notes.get(_name(shard))
        if note is None or note != _note(shard, first, last, note["figures"]):
            return None
        return note["figures"]

    def add(self, shard: Path, first: np.void, last: np.void, figures: dict[str, int]) -> None:
        """Notes a shard that has just been written."""
        with open(self._file, "ab") as out:
            files.write_whole(out.fileno(), json.dumps(_note(shard, first, last, figures)).encode() + b"\n")


def _name(shard: Path) -> str:
    return f"{shard.parent.name}/{shard.name}"


def _note(shard: Path, first: np.void, last: np.void, figures: dict[str, int]) -> JsonObject:
    keys = [[int(key[name]) for name in ORDER] for key in (first, last)]
    return {
        "shard": _name(shard),
        "keys": keys,
        "figures": figures,
        "files": _as_they_are([shard, ids_file(shard)]),
    }


def _as_they_are(paths: Iterable[Path]) -> list[list[int] | None]:
    """Size in bytes and time of the last change in nanoseconds of files; None for missing ones."""
    found: list[list[int] | None] = []
    for path in paths:
        try:
            now = path.stat()
        except FileNotFoundError:
            found.append(None)
        else:
            found.append([now.st_size, now.st_mtime_ns])
    return found


def _digest(parts: Sequence[Part], keep: Sequence[np.ndarray], fields: Sequence[str]) -> str:
    """Of what shards are cut from: a part that was read again counts as another one."""
    digest = hashlib.sha256(json.dumps([list(fields), len(parts)]).encode())
    for part, stay in zip(parts, keep, strict=True):
        digest.update(json.dumps([part.path.name, _as_they_are(part_files(part.path)), len(stay)]).encode())
        digest.update(np.packbits(stay).tobytes())
    return digest.hexdigest()


def _rows(file: Path) -> list[JsonObject]:
    """The whole lines of the notes, up to one that is none."""
    try:
        lines = file.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    rows = []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows
