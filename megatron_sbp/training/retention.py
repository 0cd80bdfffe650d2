"""Removes checkpoints of a running tuning that nothing will read: it saves one at every evaluation."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.checkpoint import tracker
from megatron_sbp.checkpoint.seals import remove_checkpoint
from megatron_sbp.training.early_stopping import best
from megatron_sbp.training.metrics import read_metrics
from megatron_sbp.training.model_folder import METRICS


def kept(folder: Path, last: int) -> set[int]:
    """Iterations of the checkpoints that are needed: the last two, and for each of them the best one up to it.

    A training that resumes from its last checkpoint may end with a best one before it. So may a training that goes
    back to the one before the last, because the last one was damaged. They are three at most.

    Args:
        folder: the training's folder.
        last: what the tracker names.

    Raises:
        InputError: metrics.jsonl is damaged.
    """
    latest = [number for number in tracker.complete(folder) if number <= last][-2:]
    found, rows = set(latest), read_metrics(folder / METRICS, "valid")
    for iteration in latest:
        measured = [row for row in rows if 0 < row["iteration"] <= iteration]
        if measured:
            found.add(best(measured)["iteration"])
    return found


def remove_unneeded(folder: Path) -> None:
    """Removes the other checkpoints before the last one, with their seals.

    Args:
        folder: the training's folder.

    Raises:
        InputError: metrics.jsonl is damaged; nothing is removed.
        OSError: a file cannot be removed.
    """
    last = tracker.peek(folder)  # once: at a second look Megatron may be writing it, and no checkpoint would be needed
    if last is None:
        return
    needed = kept(folder, last)
    for number in tracker.written(folder):
        if number < last and number not in needed:  # incomplete ones, too: a removal that was cut off
            remove_checkpoint(folder, number)
