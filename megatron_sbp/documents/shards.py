"""Documents that arrive in reading order, written in another order with bounded memory."""

from __future__ import annotations

import contextlib
import shutil
from collections import defaultdict
from pathlib import Path

import zstandard

from megatron_sbp.base import files
from megatron_sbp.documents.ids import write_ids
from megatron_sbp.documents.lines import read_lines


class ShardWriter:
    """Collects rows by shard in temporary files, then sorts and writes one shard at a time.

    Args:
        folder: for the temporary files, which are kept in a folder of this process inside it.
        held_bytes: rows held in memory at most, over all shards, before they go to the temporary files.
    """

    def __init__(self, folder: Path, held_bytes: int = 128 << 20):
        self._parent, self._folder = folder, files.process_folder(folder)
        self._limit, self._bytes = held_bytes, 0
        self._held: dict[tuple[str, int], list[bytes]] = defaultdict(list)

    def add(self, shard: tuple[str, int], place: int, row: bytes) -> None:
        """Notes a row.

        Args:
            shard: the split and number of the shard it belongs to.
            place: rows of a shard are written in ascending order of this.
            row: JSON without a line feed.
        """
        line = b"%d\t%s\n" % (place, row)
        self._held[shard].append(line)
        self._bytes += len(line)
        if self._bytes > self._limit:
            self._spill()

    def finish(self, shard: tuple[str, int], path: Path) -> list[Path]:
        """Writes one shard to `path`, atomically, and its ids; forgets it. Holds the shard's rows in memory.

        Returns:
            The files written.
        """
        self._spill()
        rows = []
        for line in read_lines(self._bucket(shard)):
            place, _, row = line.partition(b"\t")
            rows.append((int(place), row))
        rows.sort()
        with files.atomic_path(path) as partial, open(partial, "wb") as raw:
            with zstandard.ZstdCompressor(level=6).stream_writer(raw, closefd=False) as compressed:
                for _, row in rows:
                    compressed.write(row + b"\n")
        self._bucket(shard).unlink()
        return [path, write_ids(path, (row for _, row in rows))]

    def close(self) -> None:
        """Removes the temporary files."""
        shutil.rmtree(self._folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # another process has files there, or nothing was ever written
            self._parent.rmdir()

    def _bucket(self, shard: tuple[str, int]) -> Path:
        return self._folder / f"{shard[0]}-{shard[1]}.zst"

    def _spill(self) -> None:
        for shard, lines in self._held.items():
            self._folder.mkdir(parents=True, exist_ok=True)
            with open(self._bucket(shard), "ab") as bucket:  # one more frame
                bucket.write(zstandard.ZstdCompressor(level=1).compress(b"".join(lines)))
        self._held.clear()
        self._bytes = 0
