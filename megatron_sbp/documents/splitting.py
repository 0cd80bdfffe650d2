"""Which documents stay, and into which split each goes: arithmetic on hashes, no texts."""

from __future__ import annotations

import hashlib
import struct
from array import array
from dataclasses import dataclass

import numpy as np

from megatron_sbp.documents.reading import Document

_FIVE = struct.Struct(">5Q")


class Table:
    """One row per readable document: 52 bytes, whatever the text's length."""

    def __init__(self, seed: int):
        self._key = str(seed).encode()
        self._hashes = array("Q")  # order, id (2), text (2)
        self._files, self._lines = array("I"), array("Q")

    def __len__(self) -> int:
        return len(self._files)

    def add(self, document: Document, file: int, line: int) -> None:
        """Notes a document.

        Args:
            document: its id and its text, stripped of white space at both ends, are hashed (128 bits each).
            file: number of its file.
            line: line in that file.
        """
        self._hashes.extend(self.hashes(document))
        self._files.append(file)
        self._lines.append(line)

    def hashes(self, document: Document) -> tuple[int, ...]:
        """uint64 x 5: the keyed order, two of the id, two of the stripped text."""
        id = document.id.encode()
        order = hashlib.blake2b(id, digest_size=8, key=self._key).digest()
        whole = order + hashlib.sha256(id).digest()[:16] + hashlib.sha256(document.text.strip().encode()).digest()[:16]
        return _FIVE.unpack(whole)

    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """hashes uint64 [n, 5], file uint32 [n], line uint64 [n], in the order of reading."""
        hashes = np.frombuffer(self._hashes, np.uint64) if len(self) else np.empty(0, np.uint64)
        files = np.frombuffer(self._files, np.uint32) if len(self) else np.empty(0, np.uint32)
        lines = np.frombuffer(self._lines, np.uint64) if len(self) else np.empty(0, np.uint64)
        return hashes.reshape(-1, 5), files, lines


@dataclass
class Chosen:
    """What is left of a table.

    Attributes:
        rows: int64 [kept], rows of the table in the keyed order, which depends on seed and ids alone.
        duplicates: documents whose stripped text another document has too.
        clashes: int64 [m, 2], rows of different texts with the same id: the one that goes and the one that stays.
    """

    rows: np.ndarray
    duplicates: int
    clashes: np.ndarray


def choose(table: Table) -> Chosen:
    """Drops exact duplicates and documents whose id another text has, and puts the rest into the keyed order.

    Of equal texts the one with the smallest hash of its id stays, and of equal ids the one with the smallest hash of
    its text: neither depends on the order of the files, nor on the seed.
    """
    hashes, _, _ = table.columns()
    order, id_high, id_low, text_high, text_low = hashes.T

    def first_of_group(rows: np.ndarray, *columns: np.ndarray) -> np.ndarray:
        """bool: whether a row differs from the one before it in one of the columns."""
        new = np.zeros(len(rows), bool)
        new[:1] = True
        for column in columns:
            values = column[rows]
            new[1:] |= values[1:] != values[:-1]
        return new

    rows = np.lexsort((id_low, id_high, text_low, text_high))  # stable: reading order breaks ties
    rows = rows[first_of_group(rows, text_high, text_low)]
    duplicates = len(table) - len(rows)

    rows = rows[np.lexsort((text_low[rows], text_high[rows], id_low[rows], id_high[rows]))]
    first = first_of_group(rows, id_high, id_low)
    stays = rows[first][np.cumsum(first) - 1] if len(rows) else rows
    clashes = np.stack([rows[~first], stays[~first]], axis=1)
    rows = rows[first]

    rows = rows[np.lexsort((id_low[rows], id_high[rows], order[rows]))]
    return Chosen(rows, duplicates, clashes)
