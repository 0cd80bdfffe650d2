"""The description of a training run's data, written by the launcher and read by every rank; and its lock.

    models/NAME/data.json         which datasets, how many samples of each, in what order: a `DataFile`
    models/NAME/blend.lock.json   the same with the digests of the datasets, as the first start of training saw it

A weight in both means samples: training sequences, not tokens, not documents, not proportions.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from megatron_sbp.base import files
from megatron_sbp.base.differences import differences
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.checkpoint.model_folder import BLEND_LOCK

_CHOICES = {"kind": ("documents", "pairs"), "epochs": ("strict", "joint"), "order": ("mixed", "listed")}
UNIT_NOTE = "weights are samples: training sequences of sequence_length tokens"


@dataclass
class Source:
    """One dataset of the blend."""

    name: str
    """real, oracle, synthetic or pairs: shown in logs and ledgers."""
    prefix: str
    """Path of the IndexedDataset without .bin and .idx, relative to the data file."""
    samples: int
    """Training sequences taken from it."""
    once: bool = False
    """No token may be used twice (synthetic documents)."""


@dataclass
class DataFile:
    """Datasets of one training run."""

    kind: Literal["documents", "pairs"]
    train: list[Source]
    valid: Source
    sequence_length: int
    seed: int
    epochs: Literal["strict", "joint"]
    end_of_document: int
    padding: int
    separator: int
    unit: str = UNIT_NOTE
    order: Literal["mixed", "listed"] = "mixed"
    """listed: the sources follow one another as `train` lists them."""

    def write(self, path: Path) -> None:
        """Writes the file atomically."""
        files.write_json(path, self.to_dict())

    def to_dict(self) -> JsonObject:
        """Its JSON. The usual order is left out: training runs that began before there was another one can continue."""
        tree = dataclasses.asdict(self)
        return tree if self.order != "mixed" else {key: value for key, value in tree.items() if key != "order"}

    @staticmethod
    def read(path: Path) -> DataFile:
        """Reads the file; InputError names a key that is missing or unknown, or has an impossible value."""
        tree = files.read_json(path)
        try:
            tree["train"] = [Source(**source) for source in tree["train"]]
            tree["valid"] = Source(**tree["valid"])
            data = DataFile(**tree)
        except (KeyError, TypeError) as error:
            raise InputError(f"not a data file of this version ({error})", file=path) from error
        for key, choices in _CHOICES.items():
            if getattr(data, key) not in choices:
                raise InputError(f"must be {' or '.join(choices)}, not {getattr(data, key)!r}", file=path, key=key)
        if data.sequence_length < 1:
            raise InputError(f"must be positive, not {data.sequence_length}", file=path, key="sequence_length")
        return data


def dataset_digest(prefix: Path) -> JsonObject:
    """What identifies an IndexedDataset without reading all of it: the digest of its index, and the size of its tokens.

    Raises:
        InputError: a file of the dataset is missing.
    """
    index, tokens = prefix.with_name(prefix.name + ".idx"), prefix.with_name(prefix.name + ".bin")
    for file in (index, tokens):
        if not file.exists():
            raise InputError("this file of the dataset is missing", file=file)
    with open(index, "rb") as stream:
        return {"idx_sha256": hashlib.file_digest(stream, "sha256").hexdigest(), "bin_bytes": tokens.stat().st_size}


def lock(path: Path, resumed: bool) -> JsonObject:
    """Writes or checks blend.lock.json beside a data file.

    Args:
        path: the data file.
        resumed: whether the training run has a checkpoint already: then the lock must agree.

    Returns:
        The lock.

    Raises:
        InputError: the training run started with other data; every difference is named with both values.
    """
    data = DataFile.read(path)
    present = data.to_dict()
    for source in (*present["train"], present["valid"]):
        source.update(dataset_digest((path.parent / source["prefix"]).resolve()))
    file = path.with_name(BLEND_LOCK)
    if resumed and file.exists():
        found = list(differences(_compared(files.read_json(file)), _compared(present)))
        if found:
            raise InputError(
                "this training run started with other data, and continuing would repeat or skip some of it: "
                + "; ".join(found)
                + f". Restore the data, or move {path.parent} away to train again",
                file=file,
            )
    else:
        files.write_json(file, present)
    return present


def _compared(lock: JsonObject) -> JsonObject:
    """A lock without the length of an evaluation, which may change between starts."""
    return {**lock, "valid": {key: value for key, value in lock["valid"].items() if key != "samples"}}
