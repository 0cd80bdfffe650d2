"""Records and checks every sample that a training run consumed.

Each data-parallel rank appends one row per sample to consumed/RANK.i64, little-endian int64: iteration, source, sample.
A resumed training run first drops the rows after its checkpoint. At the end, the rows of all ranks must match the plan
exactly: no missing and no duplicate samples.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.training.data.data_file import DataFile

COLUMNS = 3
BLOCK = 1 << 20
"""Rows checked at a time: 24 MiB."""


def _file(folder: Path, rank: int) -> Path:
    return folder / f"{rank:05d}.i64"


class Recorder:
    """Writes the rows of one data-parallel rank.

    Args:
        folder: models/NAME/consumed.
        rank: data-parallel rank.
    """

    def __init__(self, folder: Path, rank: int):
        folder.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(_file(folder, rank), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        files.sync_folder(folder)

    def record(self, iteration: int, sources: np.ndarray, samples: np.ndarray) -> None:
        """Adds a micro-batch of the iteration (counted from 0): the sources and samples, int64 [micro-batch] each."""
        rows = np.stack([np.full(len(samples), iteration), sources, samples], axis=1).astype("<i8")
        files.write_whole(self._descriptor, rows.tobytes())

    def sync(self) -> None:
        """Flushes the rows to disk: a machine crash must not lose rows that belong to an existing checkpoint."""
        os.fsync(self._descriptor)


def rewind(folder: Path, iteration: int) -> None:
    """Removes the rows of iterations from `iteration` on, of all ranks (before any rank writes)."""
    for file in folder.glob("*.i64"):
        kept = int(np.searchsorted(_rows(file)[:, 0], iteration))  # a rank's iterations are ascending
        if kept * COLUMNS * 8 != file.stat().st_size:
            os.truncate(file, kept * COLUMNS * 8)  # in place: the disk may be full


def _rows(file: Path) -> np.ndarray:
    values = np.frombuffer(file.read_bytes()[: file.stat().st_size // (COLUMNS * 8) * (COLUMNS * 8)], "<i8")
    return values.reshape(-1, COLUMNS)


def consumed(folder: Path) -> np.ndarray:
    """All rows of all ranks, int64 [samples, 3]: iteration, source, sample."""
    parts = [_rows(file) for file in sorted(folder.glob("*.i64"))]
    return np.concatenate(parts) if parts else np.empty((0, COLUMNS), np.int64)


def _blocks(folder: Path) -> Iterator[np.ndarray]:
    """Rows of all ranks, int64 [up to BLOCK, 3] at a time."""
    for file in sorted(folder.glob("*.i64")):
        with open(file, "rb") as rows:
            while len(block := rows.read(BLOCK * COLUMNS * 8)) >= COLUMNS * 8:
                yield np.frombuffer(block[: len(block) // (COLUMNS * 8) * (COLUMNS * 8)], "<i8").reshape(-1, COLUMNS)


def check(folder: Path, data: DataFile, iterations: int, global_batch_size: int, complete: bool) -> dict[str, int]:
    """Compares the consumed samples with the plan in the data file, using one byte of memory per planned sample.

    Args:
        folder: models/NAME/consumed.
        data: the data file of the training run.
        iterations: completed optimizer steps.
        global_batch_size: samples in one step.
        complete: whether the whole plan should have been consumed (not if tuning stopped early).

    Returns:
        Samples by source.

    Raises:
        InputError: a step with too many or too few samples, a sample used twice, a source with a different number of
            samples than planned; names the source and both numbers.
    """

    def wrong(message: str, source: str | None = None) -> InputError:
        return InputError(f"{message}; move {folder.parent} away to train again", file=folder, key=source)

    per_step = np.zeros(iterations, np.int64)
    beyond = 0  # rows of unplanned steps
    seen = [np.zeros(source.samples, bool) for source in data.train]
    found = [0] * len(seen)
    faults = []
    for rows in _blocks(folder):
        planned = (rows[:, 0] >= 0) & (rows[:, 0] < iterations)
        beyond += int((~planned).sum())
        per_step += np.bincount(rows[planned, 0], minlength=iterations)
        for number, source in enumerate(data.train):
            samples = rows[rows[:, 1] == number, 2]
            found[number] += len(samples)
            outside = samples[(samples < 0) | (samples >= source.samples)]
            if len(outside):
                last = source.samples - 1
                faults.append((f"sample {outside[0]} was consumed, but 0 to {last} were planned", source.name))
                continue
            samples = np.sort(samples)
            again = seen[number][samples]
            again[1:] |= samples[1:] == samples[:-1]
            if again.any():
                faults.append((f"sample {samples[again][0]} was consumed twice", source.name))
            seen[number][samples] = True
    odd = np.flatnonzero(per_step != global_batch_size)
    if beyond or len(odd):
        place = f"; step {odd[0]} has {per_step[odd[0]]}" if len(odd) else ""
        raise wrong(
            f"{per_step.sum() + beyond} samples in {np.count_nonzero(per_step)} steps were consumed, but {iterations} "
            f"steps of {global_batch_size} were planned{place}"
        )
    if faults:
        raise wrong(*faults[0])
    for source, samples, count in zip(data.train, seen, found, strict=True):
        if complete and count != source.samples:
            raise wrong(f"{count} samples were consumed, but {source.samples} were planned", source.name)
        if not samples[:count].all():
            missing = int(np.flatnonzero(~samples)[0])
            raise wrong(f"{count} samples were consumed, but not number {missing}", source.name)
    return {source.name: count for source, count in zip(data.train, found, strict=True)}
