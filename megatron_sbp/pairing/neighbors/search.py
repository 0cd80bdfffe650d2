"""One search for both engines: the neighbors of documents among all documents of their split, and their files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from megatron_sbp.base import arrays
from megatron_sbp.base.device import compute_device
from megatron_sbp.base.progress import Progress
from megatron_sbp.pairing.neighbors import exact
from megatron_sbp.pairing.neighbors.scann_engine import ScannIndex
from megatron_sbp.pairing.neighbors.scann_plan import plan
from megatron_sbp.pairing.neighbors.scann_tuning import Tuned
from megatron_sbp.pairing.neighbors.vectors import Vectors
from megatron_sbp.recipe import Neighbors

_BLOCK = 16_384
"""Documents searched at a time when the vectors come from files of any size."""


class Search:
    """The nearest documents by the engine that the settings name.

    Args:
        vectors: the N documents.
        settings: engine, k and ScaNN's own settings are used.
        seed: of ScaNN's partitions.
        device: of the exact engine: auto, cpu or cuda. ScaNN runs on the CPU.
        index_folder: see `ScannIndex`.

    Raises:
        InputError: see `ScannIndex`; CUDA is asked for and there is none.
    """

    def __init__(
        self,
        vectors: Vectors,
        settings: Neighbors,
        *,
        seed: int,
        device: str = "auto",
        index_folder: Path | None = None,
    ):
        self.vectors, self.settings = vectors, settings
        self._index = None
        if settings.engine == "scann":
            planned = plan(len(vectors), vectors.dimensions, settings, seed)
            self._index = ScannIndex(vectors, planned, settings, index_folder)
        else:
            self._device = compute_device(device)

    @property
    def tuned(self) -> Tuned | None:
        """How far ScaNN looks, where that was found on a sample."""
        return None if self._index is None else self._index.tuned

    def nearest(
        self, queries: np.ndarray, own_rows: np.ndarray, advance: Callable[[int], None] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest documents of every query: see `exact.nearest` and `ScannIndex.nearest`.

        Args:
            queries: float32 [n, dimensions] with float16 values.
            own_rows: document that is the query itself and is left out, int64 [n]; -1 for none.
            advance: called with the number of documents compared (exact) or of queries done (ScaNN).

        Returns:
            ids int64 [n, k], scores float32 [n, k], padded with -1 and -2.
        """
        if self._index is None:
            return exact.nearest(queries, own_rows, self.vectors, self.settings.k, self._device, advance)
        return self._index.nearest(queries, own_rows, self.settings.k, advance)

    def write_files(self, outputs: Mapping[int, Path], label: str) -> None:
        """Writes the neighbors of the documents in files of vectors: .npz with ids and scores, as `nearest` returns.

        Args:
            outputs: by the number of the file among `vectors.files`; each is written atomically. They are searched for
                together, so that all vectors are read once.
            label: for the progress line.
        """
        queries = np.concatenate([self.vectors.read(number) for number in outputs])
        starts = self.vectors.starts
        own_rows = np.concatenate([np.arange(starts[number], starts[number + 1]) for number in outputs])
        total, unit = len(queries), "documents"
        if self._index is None:
            total, unit = len(self.vectors), "documents compared"
        with Progress(label, total, unit) as progress:
            ids, scores = self.nearest(queries, own_rows, progress.advance)
        begin = 0
        for number, output in outputs.items():
            mine = slice(begin, begin := begin + int(starts[number + 1] - starts[number]))
            arrays.save_together(output, ids=ids[mine], scores=scores[mine])

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Neighbors of all documents in ascending order, in blocks of 16,384: see `nearest`."""
        for begin in range(0, len(self.vectors), _BLOCK):
            rows = np.arange(begin, min(begin + _BLOCK, len(self.vectors)), dtype=np.int64)
            yield self.nearest(self.vectors.take(rows), rows)
