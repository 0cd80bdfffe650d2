"""Seals: digests of a training run's checkpoints, so that training never continues from a damaged one.

Megatron's checkpoints carry no checksums. During training, the launcher reads every checkpoint once it is complete and
writes models/NAME/seals/ITERATION.json. A checkpoint without a seal (the launcher was killed between the two) is
trusted. A run that goes back writes later checkpoints again, with different bytes: their seals are removed first.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.checkpoint import tracker
from megatron_sbp.checkpoint.tracker import checkpoint_folder

EVERY_SECONDS = 1.0

LAST_SECONDS = 20.0
"""How long the end of a training run waits for a seal that is being written: a job at its time limit has minutes, and a
checkpoint may be hundreds of gigabytes."""


def seal(folder: Path, iteration: int, given_up: Callable[[], bool] = lambda: False) -> bool:
    """Reads a complete checkpoint and writes its seal, unless it has one or was removed; returns whether it wrote one.

    Args:
        folder: the training run's folder.
        iteration: of the checkpoint.
        given_up: called before every file; once it returns true, nothing is written.
    """
    target = _seal_file(folder, iteration)
    base, found = checkpoint_folder(folder, iteration), {}
    if target.exists() or not base.exists():
        return False
    for path in _contents(base):
        if given_up():
            return False
        found[path.relative_to(base).as_posix()] = files.describe(path)
    files.write_json(target, found)
    return True


def forget_later(folder: Path) -> None:
    """Removes the seals of checkpoints after the one that the tracker names: they will be written again.

    Args:
        folder: of a training run that is about to start.
    """
    last = tracker.peek(folder) or 0
    for file in (folder / "seals").glob("*.json"):
        if file.stem.isdigit() and int(file.stem) > last:
            file.unlink()


def broken(folder: Path, iteration: int) -> tuple[Path, str] | None:
    """A file of a checkpoint that differs from its seal, and how; None for an intact or unsealed checkpoint."""
    try:
        sealed = files.read_json(_seal_file(folder, iteration))
        for name, entry in sealed.items():
            path = checkpoint_folder(folder, iteration) / name
            wrong = files.mismatch(path, entry)
            if wrong is not None:
                return path, wrong[0]
    except (FileNotFoundError, InputError, AttributeError, KeyError, TypeError):  # a damaged seal counts as none
        return None
    return None


def remove_checkpoint(folder: Path, iteration: int) -> None:
    """Removes a checkpoint and its seal. If interrupted, it leaves a checkpoint that counts as incomplete.

    Another thread may be removing the same one: the end of a training run waits for its `Sealer` only so long.

    Args:
        folder: the training run's folder.
        iteration: of the checkpoint.

    Raises:
        OSError: a file cannot be removed.
    """
    checkpoint = checkpoint_folder(folder, iteration)
    (checkpoint / tracker.METADATA).unlink(missing_ok=True)
    shutil.rmtree(checkpoint, onexc=_unless_gone)
    _seal_file(folder, iteration).unlink(missing_ok=True)


class Sealer:
    """Seals checkpoints in a thread as they become complete. Use as a context manager around a training run.

    Args:
        folder: models/NAME of the run.
        last_seconds: how long the end waits for the last checkpoint's seal before leaving it out.
        then: called after every seal, and about once a second when all complete checkpoints have theirs. If it fails
            for lack of a file or of permission (OSError, InputError), it is tried again at the next call.
    """

    def __init__(self, folder: Path, last_seconds: float = LAST_SECONDS, then: Callable[[], None] = lambda: None):
        self.folder, self.last_seconds, self.then = folder, last_seconds, then
        self._stop, self._give_up = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="seal checkpoints", daemon=True)

    def __enter__(self) -> Sealer:
        forget_later(self.folder)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join(self.last_seconds)
        self._give_up.set()

    def _watch(self) -> None:
        while True:
            last = self._stop.wait(EVERY_SECONDS)
            # The training run reports its own failures to write; and a checkpoint may be removed at any time.
            with contextlib.suppress(OSError, InputError):
                # A checkpoint beyond the tracker is from an earlier start that was interrupted, or not named yet.
                done = tracker.peek(self.folder) or 0
                for iteration in tracker.complete(self.folder):
                    # After each one: others may have been saved in the meantime, and they would pile up.
                    if iteration <= done and seal(self.folder, iteration, self._give_up.is_set):
                        self.then()
                if not self._give_up.is_set():
                    self.then()
            if last:
                return


def _contents(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _unless_gone(function: Callable[..., object], path: str, error: BaseException) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _seal_file(folder: Path, iteration: int) -> Path:
    return folder / "seals" / f"{iteration}.json"
