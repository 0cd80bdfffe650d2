"""Damaged checkpoints of a training: which one is the last intact one, and how to go back to it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.checkpoint import seals, tracker

HISTORY = ("metrics.jsonl", "data.json")
"""Files without which no checkpoint of a training can be resumed."""


def damaged_checkpoint(folder: Path) -> tuple[Path, str] | None:
    """A file of the checkpoint that an unfinished training would resume from that is not as it was written.

    Args:
        folder: the training's folder.

    Returns:
        The file and what is wrong with it; None when nothing is, or when the training has ended.
    """
    if (folder / "stopped.txt").exists():
        return None
    iteration = tracker.read(folder)
    return None if iteration is None else seals.broken(folder, iteration)


def last_intact(folder: Path, damaged: Collection[Path]) -> int | None:
    """Iteration of the last intact checkpoint; None when there is none, or when the training's history is damaged.

    Args:
        folder: the training's folder.
        damaged: files in it that are known to be damaged or missing.
    """
    names = {path.relative_to(folder).parts[0] for path in damaged}
    if names & set(HISTORY):
        return None
    intact = [
        number
        for number in tracker.complete(folder)
        if tracker.checkpoint_folder(folder, number).name not in names and seals.broken(folder, number) is None
    ]
    return intact[-1] if intact else None


def go_back(folder: Path, iteration: int | None, aside: Path) -> None:
    """Sets a training back to a checkpoint. What comes after it is moved, not deleted.

    Args:
        folder: the training's folder.
        iteration: of the checkpoint; None moves the whole folder.
        aside: where things are moved.
    """
    if iteration is None:
        folder.replace(aside / folder.name)
        return
    for number in tracker.complete(folder):
        if number > iteration:
            checkpoint = tracker.checkpoint_folder(folder, number)
            checkpoint.replace(aside / checkpoint.name)
    files.write_text(folder / tracker.NAME, str(iteration))
    if (folder / "stopped.txt").exists():
        (folder / "stopped.txt").replace(aside / "stopped.txt")
