"""Damaged checkpoints of a training run: finds the last intact one and rolls back to it."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.checkpoint import seals, tracker
from megatron_sbp.checkpoint.model_folder import CONSUMED, DATA, METRICS, STOPPED

HISTORY = (METRICS, DATA)
"""Files required to resume from any checkpoint."""


def damaged_checkpoint(folder: Path) -> tuple[Path, str] | None:
    """A damaged file in the checkpoint that a training run would resume from, or, after its end, in the checkpoints
    that are its results.

    Args:
        folder: the training run's folder.

    Returns:
        The file, or the folder of a missing checkpoint, and the problem; None if everything is intact.
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
    """Iteration of the last intact checkpoint from which the training run can recreate everything that is read from it.

    In a finished training run it must precede any damaged checkpoint that is a result, because continuing past it would
    not recreate it. A checkpoint beyond the tracker does not count, since the records of its steps may have been
    dropped.

    Args:
        folder: the training run's folder.
        damaged: files in it that are known to be damaged or missing.

    Returns:
        None if there is none, or if the training run's history is damaged.
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
    """Iterations of a finished training run's checkpoints that other stages read, except those for recall: the
    evaluation works with fewer."""
    try:
        consumed = files.read_json(folder / CONSUMED)
        best = consumed.get("best", {"kept": False})
        return [consumed["export_iteration"], *([best["iteration"]] if best["kept"] else [])]
    except (FileNotFoundError, InputError, AttributeError, KeyError, TypeError):  # not finished, or damaged
        return []


def go_back(folder: Path, iteration: int | None, aside: Path, damaged: Collection[Path] = ()) -> None:
    """Rolls a training run back to a checkpoint. Later files are moved, not deleted.

    If it is killed halfway, training continues from that checkpoint or can be rolled back again.

    Args:
        folder: the training run's folder.
        iteration: of the checkpoint; None moves the whole folder.
        aside: destination of the moved files.
        damaged: files in the folder; a checkpoint that contains one of them is moved, too.
    """
    if iteration is None:
        folder.replace(aside / folder.name)
        return
    if (folder / STOPPED).exists():  # first: it marks the tracker's checkpoint as the end
        (folder / STOPPED).replace(aside / STOPPED)
    if (folder / CONSUMED).exists():
        (folder / CONSUMED).replace(aside / CONSUMED)
    files.write_text(folder / tracker.NAME, str(iteration))  # before its checkpoint is removed
    names = {path.relative_to(folder).parts[0] for path in damaged}
    for number, checkpoint in tracker.written(folder).items():
        if number > iteration or checkpoint.name in names:
            checkpoint.replace(aside / checkpoint.name)
