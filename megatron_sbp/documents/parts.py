"""Parts of a corpus: the documents of some input files in the keyed order, from which shards are merged.

PART.zst      the documents as JSON lines, in frames of about 64 KB; sorted within each segment of the part
PART.rows a fixed-size record per document, in the same order (`ROW`) PART.frames offsets of the frames (`FRAME`)
PART.json documents per segment, and counts of dropped ones
"""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import itertools
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
import zstandard

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.documents.reading import Document

ROW = np.dtype(
    [(name, "<u8") for name in ("order", "id_high", "id_low", "text_high", "text_low", "line", "begin")]
    + [(name, "<u4") for name in ("length", "characters", "bytes")]
)
"""The keyed order; two halves of a digest of the id and of the stripped text; line in the input files, counted over the
whole part; offset and length of the JSON line in the uncompressed part; characters and UTF-8 bytes of the text."""

FRAME = np.dtype([("begin", "<u8"), ("offset", "<u8"), ("length", "<u4"), ("whole", "<u4")])
"""Offset of a frame in the uncompressed part; offset, length, and uncompressed length of the compressed frame."""

ORDER = ("order", "id_high", "id_low")
"""The sort columns, most significant first."""

_FRAME_BYTES = 64 << 10
_OF_A_DOCUMENT = 500
"""Memory overhead in bytes of a held document, excluding its JSON: its record and Python objects."""
_SUFFIXES = (".zst", ".rows", ".frames", ".json")
_FIVE = struct.Struct(">5Q")


def hashes(document: Document, seed: int) -> tuple[int, ...]:
    """uint64 x 5: the sort key (keyed by the seed), two for the id, two for the stripped text."""
    id = document.id.encode()
    order = hashlib.blake2b(id, digest_size=8, key=str(seed).encode()).digest()
    whole = order + hashlib.sha256(id).digest()[:16] + hashlib.sha256(document.text.strip().encode()).digest()[:16]
    return _FIVE.unpack(whole)


def part_files(part: Path) -> list[Path]:
    """The files of a part."""
    return [part.with_name(part.name + suffix) for suffix in _SUFFIXES]


class PartWriter:
    """Writes a part from documents in reading order. A context manager: the files appear on exit.

    Args:
        part: FOLDER/NAME, without a suffix.
        seed: of the keyed order.
        held_bytes: maximum memory for documents before a segment is sorted and written.
    """

    def __init__(self, part: Path, seed: int, held_bytes: int = 256 << 20):
        self.notes: JsonObject = {}
        """Additional contents of PART.json."""
        self._part, self._seed, self._limit = part, seed, held_bytes
        self._rows: list[tuple[int, ...]] = []
        self._lines: list[bytes] = []
        self._held = self._begin = self._offset = 0
        self._segments: list[int] = []
        self._stack = contextlib.ExitStack()
        self._out: list[IO[bytes]] = []

    def __enter__(self) -> PartWriter:
        for file in part_files(self._part)[:3]:
            self._out.append(self._stack.enter_context(open(self._stack.enter_context(files.atomic_path(file)), "wb")))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._spill()
        self._stack.__exit__(kind, error, traceback)
        if kind is None:
            files.write_json(part_files(self._part)[3], {"segments": self._segments, **self.notes})

    def add(self, document: Document, line: int) -> None:
        """Adds a document and its line."""
        row = document.row()
        sizes = (len(row), len(document.text), len(document.text.encode()))
        self._rows.append((*hashes(document, self._seed), line, 0, *sizes))
        self._lines.append(row)
        self._held += len(row) + _OF_A_DOCUMENT
        if self._held > self._limit:
            self._spill()

    def _spill(self) -> None:
        """Sorts and writes a segment."""
        if not self._rows:
            return
        rows = np.array(self._rows, ROW)
        order = np.lexsort([rows[name] for name in reversed(ORDER)])  # stable: equal ids stay in reading order
        rows = rows[order]
        rows["begin"] = self._begin + np.cumsum(rows["length"], dtype=np.uint64) - rows["length"]
        frames, held, size = [], [], 0
        for number in order.tolist():
            held.append(self._lines[number])
            size += len(held[-1])
            if size >= _FRAME_BYTES:
                frames.append(self._frame(b"".join(held)))
                held, size = [], 0
        if held:
            frames.append(self._frame(b"".join(held)))
        self._out[1].write(rows.tobytes())
        self._out[2].write(np.array(frames, FRAME).tobytes())
        self._segments.append(len(rows))
        self._rows, self._lines, self._held = [], [], 0

    def _frame(self, data: bytes) -> tuple[int, int, int, int]:
        packed = zstandard.ZstdCompressor(level=1).compress(data)
        self._out[0].write(packed)
        frame = (self._begin, self._offset, len(packed), len(data))
        self._begin += len(data)
        self._offset += len(packed)
        return frame


class Part:
    """Reads a part; its records stay memory-mapped, which keeps a file open.

    Args:
        part: FOLDER/NAME, without a suffix.

    Raises:
        InputError: the files do not fit together.
    """

    def __init__(self, part: Path):
        self.path = part
        self._data, figures, self._frames, notes = part_files(part)
        self.notes: JsonObject = files.read_json(notes)
        """`segments` and the writer's notes."""
        self.rows = _mapped(figures, ROW)
        """ROW [documents]."""
        ends = np.cumsum([0, *self.notes["segments"]])
        if ends[-1] != len(self.rows):
            raise InputError(f"{len(self.rows)} documents, and {ends[-1]} in {notes.name}", file=figures)
        self.segments = [slice(int(begin), int(end)) for begin, end in itertools.pairwise(ends)]
        """Slices of `rows`, each in the keyed order."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def size(self) -> int:
        """Total bytes of the JSON lines."""
        return int(self.rows[-1]["begin"]) + int(self.rows[-1]["length"]) if len(self.rows) else 0

    def between(self, first: np.void, last: np.void) -> np.ndarray:
        """Rows from one key to another, inclusive: int64 [n], ascending by position in the part.

        Args:
            first: with the fields of ORDER.
            last: the same.
        """
        found, table = [], np.asarray(self.rows)
        order, low, high = table["order"], first["order"], last["order"]
        for segment in self.segments:
            # Not by np.searchsorted: rows of 68 bytes are not aligned, and it would copy the column at every call.
            begin = bisect.bisect_left(order, low, segment.start, segment.stop)
            end = bisect.bisect_right(order, high, begin, segment.stop)
            if begin == end:  # equally common for small parts
                continue
            rows = table[begin:end]
            inside = (_compared(rows, first) >= 0) & (_compared(rows, last) <= 0)
            found.append(begin + np.flatnonzero(inside))
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def read(self, places: np.ndarray) -> Iterator[bytes]:
        """JSON lines, without line feeds, of rows in ascending order of position.

        Raises:
            InputError: damaged data.
        """
        if not len(places):
            return
        rows = self.rows[places]
        frames = _mapped(self._frames, FRAME)  # loaded only now: 24 bytes per 64 KB of all parts would use much memory
        numbers = np.searchsorted(frames["begin"], rows["begin"], "right") - 1
        current, data, begin = -1, b"", 0
        with open(self._data, "rb") as file:
            for number, start, length in zip(
                numbers.tolist(), rows["begin"].tolist(), rows["length"].tolist(), strict=True
            ):
                if number != current:
                    frame, current = frames[number], number
                    file.seek(int(frame["offset"]))
                    begin = int(frame["begin"])
                    try:
                        data = zstandard.ZstdDecompressor().decompress(
                            file.read(int(frame["length"])), max_output_size=int(frame["whole"])
                        )
                    except zstandard.ZstdError as error:
                        raise InputError(f"damaged compressed data ({error})", file=self._data) from error
                yield data[start - begin : start - begin + length]


def _mapped(file: Path, dtype: np.dtype) -> np.ndarray:
    size = file.stat().st_size
    if size % dtype.itemsize:
        raise InputError(f"truncated: {size} bytes are not a multiple of {dtype.itemsize}", file=file)
    return np.memmap(file, dtype, "r") if size else np.empty(0, dtype)


def _compared(rows: np.ndarray, key: np.void) -> np.ndarray:
    """int8 [n]: whether a row comes before a key (-1), is it (0), or comes after it (1)."""
    found = np.zeros(len(rows), np.int8)
    for name in ORDER:  # a later column decides only where those before it are equal
        column = (rows[name] > key[name]).astype(np.int8) - (rows[name] < key[name])
        found = np.where(found == 0, column, found)
    return found
