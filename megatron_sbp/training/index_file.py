"""Reads the lengths in a Megatron index file (.idx) without importing Megatron."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from megatron_sbp.errors import InputError

_HEADER = b"MMIDIDX\x00\x00"


def sequence_lengths(prefix: Path) -> np.ndarray:
    """Tokens of every sequence of an IndexedDataset.

    Args:
        prefix: path without .bin and .idx.

    Returns:
        int32 [sequences], memory-mapped.

    Raises:
        InputError: the file is missing or is no Megatron index.
    """
    file = prefix.with_name(prefix.name + ".idx")
    if not file.exists():
        raise InputError("this index file is missing", file=file)
    with open(file, "rb") as stream:
        header = stream.read(len(_HEADER) + 8 + 1 + 8 + 8)
    if not header.startswith(_HEADER) or len(header) != len(_HEADER) + 25:
        raise InputError("not an index file of Megatron", file=file)
    count = int.from_bytes(header[18:26], "little")
    return np.memmap(file, dtype="<i4", mode="r", offset=len(header), shape=(count,)) if count else np.empty(0, "<i4")
