"""Digest of a large file, computed in pieces on all cores: plain SHA-256 takes minutes per 100 GB on one core."""

from __future__ import annotations

import hashlib
from pathlib import Path

from megatron_sbp.base.side_by_side import side_by_side

_BUFFER = 1 << 20


def sha256_of_pieces(path: Path, size: int, piece: int) -> str:
    """SHA-256 of the SHA-256 digests (32 bytes each) of a file's pieces, in hexadecimal.

    Args:
        path: the file.
        size: number of bytes to read: a file that is still being written may keep growing.
        piece: bytes of a piece; the last may have fewer.
    """
    whole = hashlib.sha256()
    for found in side_by_side(
        lambda begin: sha256_between(path, begin, min(piece, size - begin)), range(0, size, piece)
    ):
        whole.update(found.digest())
    return whole.hexdigest()


def sha256_between(path: Path, begin: int, count: int) -> hashlib._Hash:
    """The SHA-256 of at most `count` bytes of a file, from byte `begin` on."""
    found, left = hashlib.sha256(), count
    with open(path, "rb", buffering=0) as file:
        file.seek(begin)
        while left and (read := file.read(min(left, _BUFFER))):
            found.update(read)
            left -= len(read)
    return found
