"""Atomic NumPy files: either complete or absent."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from megatron_sbp.base import files


def save(path: Path, array: np.ndarray) -> None:
    """Writes an array to a .npy file atomically."""
    with files.atomic_path(path) as partial:
        np.save(partial, array)


def save_together(path: Path, **arrays: np.ndarray) -> None:
    """Writes arrays under their names to an .npz file atomically."""
    with files.atomic_path(path) as partial:
        np.savez(partial, **arrays)  # type: ignore[arg-type]
