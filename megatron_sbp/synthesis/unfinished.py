"""Generations of a shard that is not finished, on disk as they are written: a kill costs minutes, not hours."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.synthesis.engine import Written

SUFFIX = ".unfinished"


class Unfinished:
    """The batches of one shard that were written so far.

    A header line, then one JSON line per batch; a truncated last line is ignored. Only one process
    works on a shard (the unit's lock).

    Args:
        output: the shard; the file is beside it, hidden.
        identity: digest of all that the texts follow from. Batches of something else are dropped.
    """

    def __init__(self, output: Path, identity: str):
        self.file = output.with_name(f".{output.name}{SUFFIX}")
        self.done: dict[int, Written] = {}
        whole = 0  # bytes before what a kill truncated or something else damaged
        for line in self.file.read_bytes().split(b"\n")[:-1] if self.file.exists() else []:
            value = _json(line)
            if value is None or ("identity" in value) != (whole == 0):
                break
            if whole == 0 and value != {"identity": identity}:
                break
            for place, tokens, finished in zip(*(value.get(key, ()) for key in _KEYS), strict=True):
                self.done[place] = Written(np.array(tokens, np.int64), finished)
            whole += len(line) + 1
        if whole:
            os.truncate(self.file, whole)  # in place: hours of work are in it, and the disk may be full
        else:
            files.write_text(self.file, json.dumps({"identity": identity}) + "\n")

    def add(self, places: Sequence[int], texts: Sequence[Written]) -> None:
        """Keeps a batch.

        Args:
            places: of its generations in the plan of the shard.
            texts: what was written for each.
        """
        values = ([*places], [text.tokens.tolist() for text in texts], [bool(text.finished) for text in texts])
        with open(self.file, "ab") as stream:
            stream.write(json.dumps(dict(zip(_KEYS, values, strict=True))).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())

    def remove(self) -> None:
        """Removes the file, once the shard is finished."""
        self.file.unlink(missing_ok=True)


_KEYS = ("places", "tokens", "finished")


def _json(line: bytes) -> dict[str, Any] | None:
    """The line's value, if it is one that this file has: of what the batches are, or a batch."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    if not isinstance(value, dict) or value.keys() not in ({"identity"}, set(_KEYS)):
        return None
    return value if len({len(value[key]) for key in _KEYS if key in value}) <= 1 else None
