"""Damaged checkpoints of a training: which one is the last intact one, and how to go back to it."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.checkpoint import seals, tracker
from megatron_sbp.training.model_folder import CONSUMED, DATA, METRICS, STOPPED

HISTORY = (METRICS, DATA)
"""Files without which no checkpoint of a training can be resumed."""


def damaged_checkpoint(folder: Path) -> tuple[Path, str] | None:
    """A file that is not as it was written, of the checkpoint that a training would resume from; where the training has
    ended, of those that are its results.

    Args:
        folder: the training's folder.

    Returns:
        The file, or the folder of a checkpoint that is not there, and what is wrong with it; None when nothing is.
    """
    if not (folder / STOPPED).exists():
        iteration = tracker.read(folder)
        return None if iteration is None else seals.broken(folder, iteration)
    for iteration in _results(folder):
        if iteration not in tracker.complete(folder):
            return tracker.checkpoint_folder(folder, iteration), "is missing or not complete"
        found = seals.broken(folder, iteration)
        if found is not None:
            return found
    return None


def last_intact(folder: Path, damaged: Collection[Path]) -> int | None:
    """Iteration of the last intact checkpoint from which the training ends with all that is read of it.

    In a finished training run it must precede any damaged checkpoint that is a result, because continuing past it would
    not recreate it. One beyond the tracker does not count, since the records of its steps may be cut off.

    Args:
        folder: the training's folder.
        damaged: files in it that are known to be damaged or missing.

    Returns:
        None when there is none, or when the training's history is damaged.
    """
    names = {path.relative_to(folder).parts[0] for path in damaged}
    if names & set(HISTORY):
        return None
    lost = [number for number in _results(folder) if tracker.checkpoint_folder(folder, number).name in names]
    last = tracker.peek(folder)
    intact = [
        number
        for number in tracker.complete(folder)
        if tracker.checkpoint_folder(folder, number).name not in names
        and (last is None or number <= last)
        and number < min(lost, default=math.inf)
        and seals.broken(folder, number) is None
    ]
    return intact[-1] if intact else None


def _results(folder: Path) -> list[int]:
    """Iterations of the checkpoints that others read of a finished training, but those that recall is measured on:
    the evaluation does with fewer of them."""
    try:
        consumed = files.read_json(folder / CONSUMED)
        best = consumed.get("best", {"kept": False})
        return [consumed["export_iteration"], *([best["iteration"]] if best["kept"] else [])]
    except (FileNotFoundError, InputError, AttributeError, KeyError, TypeError):  # not finished, or damaged
        return []


def go_back(folder: Path, iteration: int | None, aside: Path, damaged: Collection[Path] = ()) -> None:
    """Sets a training back to a checkpoint. What comes after it is moved, not deleted.

    Killed in between, it leaves a training that continues from that checkpoint, or can be set back again.

    Args:
        folder: the training's folder.
        iteration: of the checkpoint; None moves the whole folder.
        aside: where things are moved.
        damaged: files in the folder; a checkpoint that has one of them is moved, too.
    """
    if iteration is None:
        folder.replace(aside / folder.name)
        return
    if (folder / STOPPED).exists():  # first: it says that the tracker names the end
        (folder / STOPPED).replace(aside / STOPPED)
    if (folder / CONSUMED).exists():
        (folder / CONSUMED).replace(aside / CONSUMED)
    files.write_text(folder / tracker.NAME, str(iteration))  # before the checkpoint that it names is removed
    names = {path.relative_to(folder).parts[0] for path in damaged}
    for number, checkpoint in tracker.written(folder).items():
        if number > iteration or checkpoint.name in names:
            checkpoint.replace(aside / checkpoint.name)
