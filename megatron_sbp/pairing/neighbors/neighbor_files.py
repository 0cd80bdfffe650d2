"""Files of neighbors, read without the libraries that search."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def read_neighbors(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """ids int64 [documents, k] and scores float32 [documents, k] of one file of neighbors."""
    with np.load(file) as shard:
        return shard["ids"], shard["scores"]
