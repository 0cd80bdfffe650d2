"""latest_checkpointed_iteration.txt: which checkpoint a training run continues from; repair of a truncated file.

Megatron completes a checkpoint with its metadata.json and then overwrites the tracker in place. A kill between the two
leaves the tracker at the previous checkpoint, which is correct; a kill during the second leaves it empty, and Megatron
then exits with status 0 as if it had trained.
"""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import say

NAME = "latest_checkpointed_iteration.txt"
METADATA = "metadata.json"
"""The file that completes a checkpoint, in its folder."""


def read(folder: Path) -> int | None:
    """The iteration to continue from; None if nothing was saved. Repairs a truncated tracker.

    Raises:
        InputError: the tracker names a checkpoint that is not there or not complete.
    """
    file = folder / NAME
    if not file.exists():
        return None
    text = file.read_text().strip()
    finished = complete(folder)
    if text.isdigit():
        if int(text) in finished:
            return int(text)
        raise InputError(
            f"names iteration {text}, but the complete checkpoints here are {finished or 'none'}; write one of them "
            f"into it to continue from there, or move {folder} away to train again",
            file=file,
        )
    if text:
        raise InputError(
            f"holds {text!r}, which is not an iteration; write one of {finished} into it, or move {folder} away "
            "to train again",
            file=file,
        )
    if not finished:
        file.unlink()
        return None
    say(f"{file}: was truncated while it was written; continuing from iteration {finished[-1]}")
    files.write_text(file, str(finished[-1]))
    return finished[-1]


def peek(folder: Path) -> int | None:
    """The iteration that the tracker names at this moment, unchecked; None without a tracker, or during its writing."""
    try:
        text = (folder / NAME).read_text().strip()
    except FileNotFoundError:
        return None
    return int(text) if text.isdigit() else None


def checkpoint_folder(folder: Path, iteration: int) -> Path:
    """The folder of one checkpoint of a training run."""
    return folder / f"iter_{iteration:07d}"


def written(folder: Path) -> dict[int, Path]:
    """Folders of checkpoints by iteration, ascending, complete or not. Other names, such as `iter_0000024.bak`,
    are not checkpoints."""
    numbers = (path.name.removeprefix("iter_") for path in folder.glob("iter_*") if path.is_dir())
    found = sorted(int(text) for text in numbers if text.isascii() and text.isdigit())
    return {number: path for number in found if (path := checkpoint_folder(folder, number)).is_dir()}


def complete(folder: Path) -> list[int]:
    """Iterations of the checkpoints that were closed, ascending."""
    return [number for number, path in written(folder).items() if _closed(path)]


def _closed(checkpoint: Path) -> bool:
    """Whether metadata.json is there and not empty: Megatron does not flush it, and the machine may crash."""
    try:
        return (checkpoint / METADATA).stat().st_size > 0
    except FileNotFoundError:
        return False
