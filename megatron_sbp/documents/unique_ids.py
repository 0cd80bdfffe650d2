"""Checks that ids are unique in another pipeline's files, before long work."""

from __future__ import annotations

import hashlib
from array import array
from pathlib import Path

import numpy as np

from megatron_sbp.base.errors import InputError
from megatron_sbp.documents.foreign import Source


def check_unique_ids(source: Source) -> None:
    """Reads the ids of all documents, with about 10 bytes of memory per document.

    Does nothing without an id field: equal texts have equal digests.

    Raises:
        InputError: two documents have the same id (names both places); and as `Source.documents`.
    """
    if source.id_field is None:
        return
    digests = np.frombuffer(array("Q", (_digest(document.id) for document in source.documents())), np.uint64)
    digests.sort()
    suspects = set(digests[1:][digests[1:] == digests[:-1]].tolist())
    if not suspects:
        return
    # Second pass, with places. Two ids may share a digest, so the ids themselves are compared.
    first: dict[str, tuple[Path, int]] = {}
    for path, line, document in source.placed():
        if _digest(document.id) not in suspects:
            continue
        if document.id in first:
            other, there = first[document.id]
            where = f"line {there}" if other == path else f"{other}:{there}"
            raise InputError(f"{document.id!r} is also the id of {where}", file=path, line=line, key=source.id_field)
        first[document.id] = path, line


def _digest(id: str) -> int:
    return int.from_bytes(hashlib.blake2b(id.encode(), digest_size=8).digest(), "little")
