"""Concatenates files on all cores: offsets follow from the sizes of the parts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.side_by_side import side_by_side

BLOCK = 256 << 20
"""Bytes of the joint file that one thread writes at a time."""

_BUFFER = 4 << 20

type _Piece = tuple[Path, int, int]
"""A file, an offset in bytes, and a number of bytes."""


def join_files(output: Path, parts: Sequence[Path], sizes: Sequence[int]) -> None:
    """Writes the bytes of all parts one after another. Threads copy blocks to their offsets, so parts may have any
    size; memory is 4 MB per core, with two open files per core.

    Args:
        output: created or overwritten; not atomic, and not flushed to disk.
        parts: in order.
        sizes: their sizes in bytes.

    Raises:
        InputError: a part is shorter than its size.
        OSError: a part is missing, or the disk is full.
    """
    with open(output, "wb") as file:
        file.truncate(sum(sizes))
    for _ in side_by_side(lambda block: _copy(output, *block), _blocks(parts, sizes)):
        pass


def _blocks(parts: Sequence[Path], sizes: Sequence[int]) -> Iterator[tuple[int, list[_Piece]]]:
    """Offset and contents of every block of the output."""
    begin, room, pieces = 0, BLOCK, list[_Piece]()
    for part, size in zip(parts, sizes, strict=True):
        done = 0
        while done < size:
            count = min(room, size - done)
            pieces.append((part, done, count))
            done, room = done + count, room - count
            if not room:
                yield begin, pieces
                begin, room, pieces = begin + BLOCK, BLOCK, []
    if pieces:
        yield begin, pieces


def _copy(output: Path, place: int, pieces: list[_Piece]) -> None:
    buffer = memoryview(bytearray(min(_BUFFER, sum(count for _, _, count in pieces))))
    with open(output, "rb+", buffering=0) as target:
        for part, begin, count in pieces:
            with open(part, "rb", buffering=0) as source:
                while count:
                    read = os.preadv(source.fileno(), [buffer[:count]], begin)
                    if not read:
                        raise InputError(f"ends {count:,} bytes early: it was cut short while it was read", file=part)
                    written = 0
                    while written < read:  # a nearly full disk accepts only part of it
                        written += os.pwrite(target.fileno(), buffer[written:read], place + written)
                    begin, count, place = begin + read, count - read, place + read
