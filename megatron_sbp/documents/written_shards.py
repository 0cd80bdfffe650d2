"""Records written shards of documents/: a process killed in the last step loses only those that it was writing."""

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
    """A log of the shards that interrupted processes wrote from the same parts, and to which new ones are added.

    Each line has a shard's name, the keys of its first and last document, its counts, and the size and time of its
    files; a line truncated by a crash is ignored. The first line is a digest of the parts. If it differs, nothing
    counts as written.

    Args:
        file: the log; created here if it is missing or describes other parts.
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
        # Rewritten even if valid: a line must not be appended to a truncated one.
        files.write_text(file, "".join(json.dumps(row) + "\n" for row in [head, *self._notes.values()]))

    def figures(self, shard: Path, first: np.void, last: np.void) -> dict[str, int] | None:
        """The result of `shards.write_shard`; None unless the shard is unchanged."""
        note = self._notes.get(_name(shard))
        if note is None or note != _note(shard, first, last, note["figures"]):
            return None
        return note["figures"]

    def add(self, shard: Path, first: np.void, last: np.void, figures: dict[str, int]) -> None:
        """Records a shard that has just been written."""
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
    """Size in bytes and modification time in nanoseconds of files; None for missing ones."""
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
    """Digest of the parts: a part that was read again counts as a different one."""
    digest = hashlib.sha256(json.dumps([list(fields), len(parts)]).encode())
    for part, stay in zip(parts, keep, strict=True):
        digest.update(json.dumps([part.path.name, _as_they_are(part_files(part.path)), len(stay)]).encode())
        digest.update(np.packbits(stay).tobytes())
    return digest.hexdigest()


def _rows(file: Path) -> list[JsonObject]:
    """The complete lines of the log, up to the first invalid one."""
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
