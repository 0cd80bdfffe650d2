"""Saves the generations of an unfinished shard to disk as they are written: a kill costs minutes, not hours."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.base.shard_names import JSONL_ZST
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.synthesis.engine import Written
from megatron_sbp.synthesis.shard_record import RECORD_SUFFIX
from megatron_sbp.synthesis.tally import Tally, last_tally, tally_of

SUFFIX = ".unfinished"


class Unfinished:
    """The batches of one shard written so far.

    File format: a header line, then two JSON lines for every batch: the batch, and a `Tally` of all so far; a truncated
    last line is ignored. Only one process works on a shard (the unit's lock).

    Args:
        output: the shard; the hidden file is next to it.
        identity: digest of everything that determines the texts. Batches with another digest are dropped.
        min_tokens: texts with fewer count as short.
    """

    def __init__(self, output: Path, identity: str, min_tokens: int = 0):
        self.file = unfinished_of(output)
        self.done: dict[int, Written] = {}
        whole = 0  # valid bytes, before truncated or damaged data
        seconds = 0.0
        for line in self.file.read_bytes().split(b"\n")[:-1] if self.file.exists() else []:
            value = _json(line)
            if value is None or ("identity" in value) != (whole == 0):
                break
            if whole == 0 and value != {"identity": identity}:
                break
            seconds = value.get("seconds", seconds)
            for place, tokens, finished in zip(*(value.get(key, ()) for key in _KEYS), strict=True):
                self.done[place] = Written(np.array(tokens, np.int64), finished)
            whole += len(line) + 1
        if whole:
            os.truncate(self.file, whole)  # in place: it contains hours of work, and the disk may be full
        else:
            files.write_text(self.file, json.dumps({"identity": identity}) + "\n")
        now = time.time()
        self.tally = Tally(seconds=seconds, begun=now, updated=now, min_tokens=min_tokens).with_texts(
            self.done.values()
        )
        self._earlier, self._begun = seconds, time.monotonic()

    def add(self, places: Sequence[int], texts: Sequence[Written]) -> None:
        """Saves a batch.

        Args:
            places: indices of its generations in the shard's plan.
            texts: the text of each.
        """
        values = ([*places], [text.tokens.tolist() for text in texts], [bool(text.finished) for text in texts])
        worked = time.monotonic() - self._begun
        self.tally = self.tally.with_texts(
            texts,
            fresh=self.tally.fresh + len(texts),
            seconds=round(self._earlier + worked, 3),
            updated=round(self.tally.begun + worked, 3),
        )
        with open(self.file, "ab") as stream:
            batch = json.dumps(dict(zip(_KEYS, values, strict=True))).encode()
            stream.write(batch + b"\n" + self.tally.as_line())
            stream.flush()
            os.fsync(stream.fileno())

    def remove(self) -> None:
        """Removes the file, once the shard is finished."""
        self.file.unlink(missing_ok=True)


def unfinished_of(output: Path) -> Path:
    """Path of a shard's texts until it is finished."""
    return output.with_name(f".{output.name}{SUFFIX}")


def half_written(folder: Path) -> dict[str, Path]:
    """The files with texts of unfinished shards in a folder, by the name of the shard's file."""
    return {file.name[1 : -len(SUFFIX)]: file for file in sorted(folder.glob(f".*{SUFFIX}"))}


def work_in(file: Path) -> float:
    """Seconds of work in the texts of an unfinished shard; infinite if not recorded, as in files of 0.1.0."""
    found = last_tally(file)
    if found is not None:
        return found.seconds
    try:
        with open(file, "rb") as stream:
            stream.readline()
            return math.inf if stream.read(1) else 0.0
    except FileNotFoundError:  # finished meanwhile
        return 0.0


def drop_unfinished(folder: Path, units: Sequence[str], others: bool = True) -> None:
    """Removes the records of shards, and texts that are in finished ones: leftovers of a process that was killed
    between its last steps. Texts of a shard that is not among `units`, nor finished, stay, as do its records without
    `others`."""
    for name, file in half_written(folder).items():
        if name.removesuffix(JSONL_ZST) in units or (folder / name).exists():
            file.unlink(missing_ok=True)
    for file in folder.glob(f".*{RECORD_SUFFIX}"):
        if others or file.name[1:].partition(".")[0] in units:
            file.unlink(missing_ok=True)


_KEYS = ("places", "tokens", "finished")
_TALLY = {field.name for field in dataclasses.fields(Tally)}


def _json(line: bytes) -> JsonObject | None:
    """Parses a line of this file: a header, a batch, or a tally."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    if not isinstance(value, dict) or value.keys() not in ({"identity"}, set(_KEYS), _TALLY):
        return None
    if value.keys() == _TALLY:
        return value if tally_of(value) else None
    return value if len({len(value[key]) for key in _KEYS if key in value}) <= 1 else None
