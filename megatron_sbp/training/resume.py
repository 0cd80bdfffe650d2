"""Checks before a training run resumes: its precision, its settings, and whether it has already ended."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.differences import differences
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.checkpoint import tracker
from megatron_sbp.checkpoint.model_folder import METRICS, PRECISION, SETTINGS, STOPPED
from megatron_sbp.training.early_stopping import END_OF_PLAN, exhausted, reason
from megatron_sbp.training.metrics import read_metrics


def check_precision(folder: Path, precision: str) -> None:
    """Records the precision until there is a checkpoint, and requires it later: checkpoints of another precision have
    different tensors.

    Args:
        folder: the training run's folder.
        precision: the recipe's `training.precision`.

    Raises:
        InputError: an unfinished training run began in another precision.
    """
    file = folder / PRECISION
    ended = (folder / STOPPED).exists()
    if not file.exists() or (not ended and tracker.read(folder) is None):  # without a checkpoint it starts over
        files.write_text(file, precision)
        return
    began = file.read_text().strip()
    if began != precision and not ended:
        raise InputError(
            f"this training run started in {began}, but the recipe says {precision}; continue with training.precision="
            f"{began}, or move {folder} away to train again",
            file=folder,
            key="training.precision",
        )


def check_settings(folder: Path, wanted: JsonObject) -> None:
    """Records the settings that change the weights until there is a checkpoint, and requires them later.

    The manifests record them, too; but if they are missing, checkpoints must not be used with other settings.

    Args:
        folder: the training run's folder.
        wanted: settings that change the weights, as JSON has them. Keys that only one side has are ignored, since they
            differ between versions of this package.

    Raises:
        InputError: the training run began with other settings; names each one with both values.
    """
    file = folder / SETTINGS
    if not file.exists() or tracker.read(folder) is None:  # without a checkpoint it starts over
        files.write_json(file, wanted)
        return
    found = list(differences(files.read_json(file), wanted, only_common=True))
    if found:
        raise InputError(
            f"this training run started with other settings: {'; '.join(found)}. Restore them, or move {folder} away "
            "to train again",
            file=folder,
        )


def already_ended(folder: Path, *, samples: int, global_batch_size: int, patience: int = 0) -> bool:
    """Whether the training run has ended, even if it was killed after its last checkpoint and before it recorded that.

    Megatron cannot train with no sample left, so the missing stopped.txt is written here. If the last evaluation is
    missing too, the training run has not ended: its ranks do that evaluation alone.

    Args:
        folder: the training run's folder.
        samples: training sequences planned.
        global_batch_size: samples of one step.
        patience: evaluations without improvement after which it stops early; 0 for never.
    """
    stopped = folder / STOPPED
    if stopped.exists() and stopped.read_text():  # empty: writing was interrupted
        return True
    iteration = tracker.read(folder)
    if iteration is None:
        return False
    rows = [row for row in read_metrics(folder / METRICS) if row["iteration"] <= iteration]
    if patience and exhausted(rows, patience):
        files.write_text(folder / STOPPED, reason(patience))
        return True
    if iteration * global_batch_size < samples:
        return False
    if any(row["kind"] == "valid" and row["iteration"] == iteration for row in rows):
        files.write_text(folder / STOPPED, END_OF_PLAN)
        return True
    return False
