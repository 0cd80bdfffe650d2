"""Seals: the digests of a training's checkpoints, so that none that was damaged is trained on.

Megatron's checkpoints carry no checksums. While a training runs, its launcher reads every checkpoint once after it is
complete and writes models/NAME/seals/ITERATION.json. A checkpoint without a seal (the launcher was killed between the
two) is trusted.
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.checkpoint import tracker

EVERY_SECONDS = 1.0


def checkpoint_folder(folder: Path, iteration: int) -> Path:
    """The folder of one checkpoint of a training."""
    return folder / f"iter_{iteration:07d}"


def seal(folder: Path, iteration: int) -> None:
    """Reads a complete checkpoint and writes its seal, unless it has one."""
    target = _seal_file(folder, iteration)
    if not target.exists():
        base = checkpoint_folder(folder, iteration)
        found = {path.relative_to(base).as_posix(): files.describe(path) for path in _contents(base)}
        files.write_json(target, found)


def broken(folder: Path, iteration: int) -> tuple[Path, str] | None:
    """A file of a checkpoint that is not as it was sealed, and how it differs; None for an intact or unsealed one."""
    try:
        sealed = files.read_json(_seal_file(folder, iteration))
        for name, entry in sealed.items():
            path = checkpoint_folder(folder, iteration) / name
            wrong = files.mismatch(path, entry)
            if wrong is not None:
                return path, wrong[0]
    except (FileNotFoundError, InputError, AttributeError, KeyError, TypeError):  # a damaged seal seals nothing
        return None
    return None


class Sealer:
    """Seals checkpoints in a thread as they become complete. Use as a context manager around a training.

    Args:
        folder: models/NAME of the run.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="seal checkpoints", daemon=True)

    def __enter__(self) -> Sealer:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            last = self._stop.wait(EVERY_SECONDS)
            # What the training cannot write it reports itself; and a checkpoint may be removed at any time.
            with contextlib.suppress(OSError, InputError):
                for iteration in tracker.complete(self.folder):
                    seal(self.folder, iteration)
            if last:
                return


def _contents(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _seal_file(folder: Path, iteration: int) -> Path:
    return folder / "seals" / f"{iteration}.json"
