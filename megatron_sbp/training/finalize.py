"""Finalizes a finished training run: checks the consumed samples and keeps only the necessary checkpoints."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.checkpoint import tracker
from megatron_sbp.checkpoint.model_folder import BLEND_LOCK, CACHE, CONSUMED, COUNTS, DATA, METRICS, PRECISION, STOPPED
from megatron_sbp.checkpoint.seals import remove_checkpoint
from megatron_sbp.checkpoint.tracker import checkpoint_folder
from megatron_sbp.tokenization.indexed import open_lengths
from megatron_sbp.training import consumption
from megatron_sbp.training.data.data_file import DataFile
from megatron_sbp.training.early_stopping import best
from megatron_sbp.training.metrics import read_metrics

DESCRIPTIONS = (CONSUMED, DATA, BLEND_LOCK, METRICS)


def finalize(
    folder: Path,
    training: str,
    *,
    samples: int,
    global_batch_size: int,
    keep_best: bool,
    keep: Collection[int] = (),
    refuse_damage: Callable[[], None] = lambda: None,
) -> list[Path]:
    """Checks a training run against its plan, writes FOLDER/consumed.json, and removes files that are no longer read.

    Args:
        folder: the training run's folder.
        training: baseline, synthesizer, sbp or oracle.
        samples: training sequences planned.
        global_batch_size: samples of one step.
        keep_best: whether an arm keeps its best checkpoint besides its last one. The synthesizer always does.
        keep: iterations of further checkpoints to keep.
        refuse_damage: called before anything is removed, once consumed.json lists the results; it may raise.
            Afterwards, their files are considered intact.

    Returns:
        The files that are kept.

    Raises:
        InputError: the consumed samples differ from the plan; or raised by `refuse_damage`.
    """
    data = DataFile.read(folder / DATA)
    rows = read_metrics(folder / METRICS)
    iterations = int((folder / tracker.NAME).read_text())
    complete = iterations * global_batch_size == samples
    assert complete or training == "synthesizer", (iterations, samples)
    found = consumption.check(folder / COUNTS, data, iterations, global_batch_size, complete)
    consumed = sum(found.values())
    trained = [row for row in rows if row["kind"] == "train"]
    # Steps without a later log line before their checkpoint have no timing: the rate is that of the others.
    seconds = sum(row["seconds"] for row in trained)
    timed_tokens = sum(row["tokens_per_second"] * row["seconds"] for row in trained)
    chosen = best(rows)
    result = {
        "training": training,
        "stopped": (folder / STOPPED).read_text(),
        "iterations": iterations,
        "train_samples": consumed,
        "train_tokens": consumed * data.sequence_length,
        "seconds": seconds,
        "tokens_per_second": timed_tokens / seconds if seconds else None,  # stopped before the first line
        "datasets": _datasets(folder, data, found),
        "export_iteration": iterations,
        "precision": (folder / PRECISION).read_text().strip(),
    }
    kept = {iterations, *keep}
    if training == "synthesizer":
        result |= {
            "export_iteration": chosen["iteration"],
            "best_valid_loss": chosen["loss"],
            "valid_loss_before": next(row["loss"] for row in rows if row["kind"] == "valid" and row["iteration"] == 0),
        }
        kept.add(chosen["iteration"])
    else:
        result["best"] = {"iteration": chosen["iteration"], "valid_loss": chosen["loss"], "kept": keep_best}
        if keep_best:
            kept.add(chosen["iteration"])
    files.write_json(folder / CONSUMED, result)
    refuse_damage()
    checkpoints = [checkpoint_folder(folder, number) for number in sorted(kept)]
    for number in tracker.written(folder):
        if number not in kept:
            remove_checkpoint(folder, number)
    shutil.rmtree(folder / CACHE, ignore_errors=True)  # orders and packings, no longer needed
    contents = sorted(path for checkpoint in checkpoints for path in checkpoint.rglob("*") if path.is_file())
    return [*(folder / name for name in DESCRIPTIONS), *contents]


def _datasets(folder: Path, data: DataFile, samples: dict[str, int]) -> dict[str, JsonObject]:
    """Tokens and epochs used from every dataset."""
    described = {}
    for source in data.train:
        tokens = int(open_lengths((folder / source.prefix).resolve()).sum(dtype="int64"))
        used = samples[source.name] * data.sequence_length
        described[source.name] = {
            "samples": samples[source.name],
            "tokens": used,
            "dataset_tokens": tokens,
            "unique_tokens": min(used, tokens),
            "epochs": used / tokens,
        }
    return described
