"""One search for both engines: the neighbors of documents among all documents of their split, and their files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from megatron_sbp.base import arrays
from megatron_sbp.base.device import compute_device
from megatron_sbp.base.progress import Progress
from megatron_sbp.pairing.neighbors import exact
from megatron_sbp.pairing.neighbors.scann_parts import ScannParts
from megatron_sbp.pairing.neighbors.vectors import Vectors
from megatron_sbp.planning.query_blocks import part_count
from megatron_sbp.recipe import Neighbors

_BLOCK = 16_384
"""Documents searched at a time when the vectors come from files of any size."""

_BLOCK_OF_PARTS = 262_144
"""The same where every block loads all parts of ScaNN's index again: 2 GB at 1,024 dimensions and k = 200."""


class Search:
    """The nearest documents by the engine that the settings name.

    Args:
        vectors: the N documents.
        settings: engine, k and ScaNN's own settings are used.
        seed: of ScaNN's partitions.
        device: of the exact engine: auto, cpu or cuda. ScaNN runs on the CPU.
        index_folder: see `ScannIndex`.
        parts: of ScaNN's index; None divides by `documents_per_index`.

    Raises:
        InputError: see `ScannParts`; CUDA is requested and there is none.
    """

    def __init__(
        self,
        vectors: Vectors,
        settings: Neighbors,
        *,
        seed: int,
        device: str = "auto",
        index_folder: Path | None = None,
        parts: int | None = None,
    ):
        self.vectors, self.settings = vectors, settings
        self._index = None
        if settings.engine == "scann":
            parts = parts or part_count(len(vectors), len(vectors.files), settings)
            self._index = ScannParts(vectors, settings, parts, seed, index_folder)
        else:
            self._device = compute_device(device)

    def described(self) -> tuple[str, dict[str, int]]:
        """How it searches, for the audit: a few words, and for ScaNN how far, summed over the parts of its index."""
        if self._index is None:
            return "exact", {}
        far = self._index.far()
        several = {"parts": len(far)} if len(far) > 1 else {}
        return self._index.method, {
            **several,
            "leaves": sum(planned.leaves for planned in self._index.plans),
            "leaves_to_search": sum(part.leaves_to_search for part in far),
            "reorder": sum(part.reorder for part in far),
        }

    def nearest(
        self,
        queries: np.ndarray,
        own_rows: np.ndarray,
        advance: Callable[[int], None] | None = None,
        first: int = 0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest documents of every query: see `ScannParts.nearest`; `exact.nearest` gives the same.

        Args:
            queries: see there; so are own_rows and first, which is for ScaNN only.
            advance: called with the number of documents compared (exact) or of queries done in a part (ScaNN).
        """
        if self._index is None:
            return exact.nearest(queries, own_rows, self.vectors, self.settings.k, device=self._device, advance=advance)
        return self._index.nearest(queries, own_rows, advance, first)

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
        if self._index is None:
            total, unit, first = len(self.vectors), "documents compared", 0
        else:
            parts = len(self._index)
            total, unit = len(queries) * parts, "documents" if parts == 1 else f"documents, in {parts} parts"
            first = min(outputs) * parts // len(self.vectors.files)
        with Progress(label, total, unit) as progress:
            ids, scores = self.nearest(queries, own_rows, progress.advance, first)
        begin = 0
        for number, output in outputs.items():
            mine = slice(begin, begin := begin + int(starts[number + 1] - starts[number]))
            arrays.save_together(output, ids=ids[mine], scores=scores[mine])

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Neighbors of all documents in ascending order, in blocks: see `nearest`."""
        size = _BLOCK if self._index is None or len(self._index) == 1 else _BLOCK_OF_PARTS
        for begin in range(0, len(self.vectors), size):
            rows = np.arange(begin, min(begin + size, len(self.vectors)), dtype=np.int64)
            yield self.nearest(self.vectors.take(rows), rows)
