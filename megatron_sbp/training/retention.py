"""Removes unneeded checkpoints of a running tuning, which saves one at every evaluation."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.checkpoint import tracker
from megatron_sbp.checkpoint.model_folder import METRICS
from megatron_sbp.checkpoint.seals import remove_checkpoint
from megatron_sbp.training.early_stopping import best
from megatron_sbp.training.metrics import read_metrics


def kept(folder: Path, last: int) -> set[int]:
    """Iterations of the checkpoints to keep: the last two, and for each of them the best one so far.

    A training run that resumes from its last checkpoint may end with an earlier best one. The same is true if the last
    one is damaged and the training run resumes from the one before. There are at most three in total.

    Args:
        folder: the training run's folder.
        last: iteration in the tracker.

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
        folder: the training run's folder.

    Raises:
        InputError: metrics.jsonl is damaged; nothing is removed.
        OSError: a file cannot be removed.
    """
    last = tracker.peek(folder)  # once: Megatron may be writing it at a second read
    if last is None:
        return
    needed = kept(folder, last)
    for number in tracker.written(folder):
        if number < last and number not in needed:  # incomplete ones, too: an interrupted removal
            remove_checkpoint(folder, number)
