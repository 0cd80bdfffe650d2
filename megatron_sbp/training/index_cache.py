"""Indices that all ranks share: written once, atomically, and mapped into memory by everyone who needs them.

The ranks of a node then hold one copy in the page cache, and only the pages that they touch.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from megatron_sbp import files


class IndexCache:
    """Named sets of arrays below a folder.

    Args:
        folder: models/NAME/cache; all ranks must see it.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def prepare(self, key: str) -> None:
        """Empties the folder when it belongs to other data, or Megatron was killed while it wrote there.

        Called by one rank before any other reads. Megatron writes its own indices (joint shuffle, blends) in place and
        takes whatever it finds for finished.
        """
        file = self.folder / "key.json"
        if self.folder.exists():
            known = files.read_json(file) if file.exists() else None
            if known != key or self._building.exists():
                shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        files.write_json(file, key)

    @property
    def _building(self) -> Path:
        return self.folder / "building"

    def begin_building(self) -> None:
        """Notes that Megatron is about to write indices of its own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._building.touch()

    def end_building(self) -> None:
        """Notes that it has."""
        self._building.unlink(missing_ok=True)

    def arrays(self, name: str, build: Callable[[Path], None]) -> dict[str, np.ndarray]:
        """The arrays of a set by their names, read-only and mapped; the first who asks builds them.

        Args:
            name: of the set.
            build: writes NAME.npy files into the folder that it is given.
        """
        target = self.folder / name
        if not target.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.folder / f".{name}.lock", "a+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not target.exists():
                    partial = self.folder / f".{name}.partial"
                    shutil.rmtree(partial, ignore_errors=True)
                    partial.mkdir()
                    build(partial)
                    partial.rename(target)
        return {file.stem: np.load(file, mmap_mode="r") for file in target.glob("*.npy")}

    def drop(self, name: str) -> None:
        """Removes a set that nobody will ask for again; maps of it stay valid."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / f".{name}.lock").unlink(missing_ok=True)
