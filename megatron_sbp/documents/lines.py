"""Lines of plain or compressed files, with damage reported instead of ignored."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Protocol

import zstandard

from megatron_sbp.base.errors import InputError

_CHUNK = 1 << 16
_MAX_WINDOW = 1 << 31  # what zstd --long=31 needs
_GZIP = 16 + zlib.MAX_WBITS


class _Truncated(Exception):
    """The file ends inside a compressed frame."""


def read_lines(path: Path, on_bytes: Callable[[int], None] | None = None) -> Iterator[bytes]:
    """Lines without their line feed, as bytes, from a plain file, a .gz or a .zst (any number of members or frames).

    Args:
        path: the file.
        on_bytes: called with the number of bytes read from disk since the last call.

    Raises:
        InputError: missing, unreadable, truncated or damaged; names the line that could not be read completely. A
            compressed file of 0 bytes counts as truncated. (A cut exactly between two frames cannot be noticed.)
    """
    number = 1
    try:
        with open(path, "rb") as file:
            counted = _Counted(file, on_bytes)
            if path.name.endswith(".zst"):
                chunks = _frames(counted, zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).decompressobj, b"")
            elif path.name.endswith(".gz"):
                chunks = _frames(counted, lambda: zlib.decompressobj(_GZIP), b"\0")
            else:
                chunks = iter(lambda: counted.read(_CHUNK), b"")
            pieces: list[bytes] = []  # pieces of a line longer than a chunk
            for chunk in chunks:
                first, *others = chunk.split(b"\n")
                pieces.append(first)
                for other in others:
                    yield b"".join(pieces)
                    number += 1
                    pieces = [other]
            rest = b"".join(pieces)
            if rest:
                yield rest
    except _Truncated as error:
        raise InputError("truncated: the file ends inside compressed data", file=path, line=number) from error
    except (zstandard.ZstdError, zlib.error) as error:
        raise InputError(f"damaged compressed data ({error})", file=path, line=number) from error
    except FileNotFoundError as error:
        raise InputError("no such file", file=path) from error
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or error})", file=path, line=number) from error


class _Counted:
    """A file that reports the number of bytes read."""

    def __init__(self, file: IO[bytes], on_bytes: Callable[[int], None] | None):
        self._file, self._on_bytes = file, on_bytes

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        if self._on_bytes:
            self._on_bytes(len(data))
        return data


class _Decompressor(Protocol):
    """Decompressor of a single frame."""

    @property
    def eof(self) -> bool:
        """Whether the frame has ended."""

    @property
    def unused_data(self) -> bytes:
        """Input after the end of the frame."""

    def decompress(self, data: bytes, /) -> bytes:
        """The next part of the contents."""


def _frames(file: _Counted, decompressor: Callable[[], _Decompressor], padding: bytes) -> Iterator[bytes]:
    """Contents of compressed frames, one by one: python-zstandard's stream reader, for example, ends without an error
    inside a truncated frame.

    Args:
        file: the compressed file.
        decompressor: makes a decompressor.
        padding: bytes that may appear between and after frames.
    """
    frame, inside, fresh = decompressor(), True, True  # an empty file is not a compressed file
    while data := file.read(_CHUNK):
        while data:
            if fresh:
                data = data.lstrip(padding) if padding else data
                if not data:
                    break
            yield frame.decompress(data)
            inside, fresh = not frame.eof, frame.eof
            data = frame.unused_data if frame.eof else b""
            if frame.eof:
                frame = decompressor()
    if inside:
        raise _Truncated
