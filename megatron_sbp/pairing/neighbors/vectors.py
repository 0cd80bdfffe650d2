"""The embeddings of one split: several .npy files that are read as one matrix, a part at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from megatron_sbp.base.errors import InputError
from megatron_sbp.pairing.neighbors.half_floats import widen

UNIT_NORM_TOLERANCE = 0.01
"""Norms of float16 vectors are off by 5e-4 at most; more than this was never normalized."""


class Vectors:
    """Unit vectors in files, mapped from disk.

    Args:
        files: .npy, floating point [documents, dimensions]; read as float16. Rows are numbered over all of them.
        checked: every vector was found to be finite and of length 1 when it was written, as by the stage `embed`;
            reading does not check it again.

    Attributes:
        parts: the matrices, as they are on disk.
        starts: row number at which each of them begins, and the number of rows at the end: int64 [parts + 1].
        dimensions: of a vector.
        document_id: gives the id of the document of a row, for errors; None where ids are not at hand.

    Raises:
        InputError: a file is missing, damaged, or has another shape than the others.
    """

    def __init__(self, files: Sequence[Path], *, checked: bool = False):
        self.files, self.checked = list(files), checked
        self.parts = [_open(file) for file in self.files]
        if not self.parts:
            raise InputError("there are no embeddings")
        self.dimensions = self.parts[0].shape[1]
        for file, part in zip(self.files, self.parts, strict=True):
            if part.shape[1] != self.dimensions:
                raise InputError(
                    f"has {part.shape[1]} dimensions, but {self.files[0].name} has {self.dimensions}", file=file
                )
        self.starts = np.cumsum([0, *(len(part) for part in self.parts)])
        self.document_id: Callable[[int], str] | None = None

    def __len__(self) -> int:
        """Number of vectors."""
        return int(self.starts[-1])

    def of_files(self, numbers: Sequence[int]) -> Vectors:
        """Those of some files, numbered on their own."""
        return Vectors([self.files[number] for number in numbers], checked=self.checked)

    def tiles(self, size: int) -> Iterator[tuple[int, np.ndarray]]:
        """All vectors in ascending order, in parts of at most `size` rows.

        Yields:
            (number of the first row, float32 [rows, dimensions] with float16 values); the next part but one overwrites
            it.

        Raises:
            InputError: a vector is not finite or does not have length 1; names file and row.
        """
        rooms = [np.empty((min(size, len(self)), self.dimensions), np.float32) for _ in range(2)]
        for (place, begin, end), room in zip(self.cuts(size), itertools.cycle(rooms)):
            yield int(self.starts[place]) + begin, self.read(place, begin, end, room[: end - begin])

    def cuts(self, size: int) -> Iterator[tuple[int, int, int]]:
        """Parts of at most `size` rows: (number of the file, its first row, and the row after the last)."""
        for place, part in enumerate(self.parts):
            for begin in range(0, len(part), size):
                yield place, begin, min(begin + size, len(part))

    def read(self, place: int, begin: int = 0, end: int | None = None, into: np.ndarray | None = None) -> np.ndarray:
        """Rows of one file, checked: float32 [rows, dimensions] with float16 values; in `into`, where that is given."""
        rows, squares = widen(self.raw(place, begin, end), into)
        if not self.checked:
            self.check(place, begin, np.sqrt(squares))
        return rows

    def raw(self, place: int, begin: int = 0, end: int | None = None) -> np.ndarray:
        """Rows of one file as they are, not checked: float16 [rows, dimensions]."""
        return self.parts[place][begin:end].astype(np.float16, copy=False)

    def check(self, place: int, begin: int, norms: np.ndarray) -> None:
        """Raises InputError where the norms of rows from `begin` on, floating point [rows], are not 1."""
        bad = np.flatnonzero(~(np.abs(norms - 1) < UNIT_NORM_TOLERANCE))  # true for NaN too
        if bad.size:
            row = begin + int(bad[0])
            norm = np.linalg.norm(self.raw(place, row, row + 1).astype(np.float64))
            what = "has values that are not finite"
            if np.isfinite(norm):
                what = f"has length {norm:.4g}; embeddings must have length 1"
            known = self.document_id
            whose = "" if known is None else f" (document id {known(int(self.starts[place]) + row)})"
            raise InputError(f"the vector in row {row}{whose} {what}", file=self.files[place])

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Vectors by row number, int64 [n]: float32 [n, dimensions]."""
        result = np.empty((len(rows), self.dimensions), np.float32)
        part_of = np.searchsorted(self.starts, rows, side="right") - 1
        for place in np.unique(part_of):
            mine = np.flatnonzero(part_of == place)
            result[mine] = self.parts[place][rows[mine] - self.starts[place]].astype(np.float16)
        return result


def _open(file: Path) -> np.ndarray:
    try:
        matrix = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise InputError("no such file", file=file) from error
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"not a NumPy matrix, or damaged ({error})", file=file) from error
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or matrix.dtype.kind != "f":
        what = f"{matrix.dtype} of shape {matrix.shape}" if isinstance(matrix, np.ndarray) else "several arrays"
        raise InputError(f"must hold floating point numbers [documents, dimensions], not {what}", file=file)
    return matrix
