"""Generations of a shard that is not finished, on disk as they are written: a kill costs minutes, not hours."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from megatron_sbp.synthesis.engine import Written

SUFFIX = ".unfinished"


class Unfinished:
    """The batches of one shard that were written so far.

    One JSON line per batch behind a line that says of what; a last line without its end is ignored. Only one process
    works on a shard (the unit's lock).

    Args:
        output: the shard; the file is beside it, hidden.
        identity: digest of all that the texts follow from. Batches of something else are dropped.
    """

    def __init__(self, output: Path, identity: str):
        self.file = output.with_name(f".{output.name}{SUFFIX}")
        self.done: dict[int, Written] = {}
        lines = self.file.read_bytes().split(b"\n")[:-1] if self.file.exists() else []
        if lines and _json(lines[0]) == {"identity": identity}:
            for number, line in enumerate(lines[1:], 1):
                batch = _json(line)
                if batch is None:  # damaged: what comes after it is written again
                    lines = lines[:number]
                    break
                for place, tokens, finished in zip(*(batch[key] for key in _KEYS), strict=True):
                    self.done[place] = Written(np.array(tokens, np.int64), finished)
        else:
            lines = [json.dumps({"identity": identity}).encode()]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_bytes(b"".join(line + b"\n" for line in lines))

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


def _json(line: bytes) -> dict | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and (value.keys() == {"identity"} or value.keys() == set(_KEYS)) else None
