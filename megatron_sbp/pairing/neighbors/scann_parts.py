"""ScaNN over any number of documents: an index for every part of them, of which one is in memory at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from megatron_sbp.pairing.neighbors.scann_engine import ScannIndex
from megatron_sbp.pairing.neighbors.scann_plan import ScannPlan, plan
from megatron_sbp.pairing.neighbors.scann_tree import is_tuned
from megatron_sbp.pairing.neighbors.scann_tuning import Tuned, read_tuned
from megatron_sbp.pairing.neighbors.scores import NO_NEIGHBOR, best
from megatron_sbp.pairing.neighbors.vectors import Vectors
from megatron_sbp.planning.query_blocks import query_blocks
from megatron_sbp.recipe import Neighbors


class ScannParts:
    """A searchable index over all vectors of a split, in parts of whole files.

    Each part is searched for k neighbors, as far as its own sample says, and the best of all are kept: a document that
    is among the k nearest of all is among the k nearest of its part.

    Args:
        vectors: the documents.
        settings: k, and how the indexes are built and searched.
        parts: how many; at most as many as files.
        seed: of the partitions.
        folder: where the indexes are kept for other processes, see `ScannIndex`; None builds them for this process,
            several in a temporary folder.

    Raises:
        InputError: see `plan`; ScaNN's own errors come when a part is opened.
    """

    def __init__(self, vectors: Vectors, settings: Neighbors, parts: int, seed: int, folder: Path | None = None):
        self._settings, self._folder = settings, folder
        if folder is None and parts > 1:  # else a part would be built again whenever its turn comes
            self._temporary = tempfile.TemporaryDirectory(prefix="scann-")
            self._folder = Path(self._temporary.name)
        groups = [list(group) for group in query_blocks(len(vectors.files), parts)]
        self._starts = [int(vectors.starts[group[0]]) for group in groups]
        self._vectors = [vectors.of_files(group) for group in groups]
        self.plans: list[ScannPlan] = [plan(len(part), part.dimensions, settings, seed) for part in self._vectors]
        self._open: tuple[int, ScannIndex] | None = None

    def __len__(self) -> int:
        """Number of parts."""
        return len(self._vectors)

    @property
    def method(self) -> str:
        """For the audit: that of the largest part."""
        return max(self.plans, key=lambda planned: planned.leaves).method

    def far(self) -> list[ScannPlan | Tuned]:
        """How far a query looks in each part: what a sample said, or the plan. If the sample's record is missing, the
        part is built and tuned again."""
        return [self._tuned(part) or self.plans[part] for part in range(len(self))]

    def nearest(
        self,
        queries: np.ndarray,
        own_rows: np.ndarray,
        advance: Callable[[int], None] | None = None,
        first: int = 0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest documents of every query, as far as ScaNN finds them; the same whatever part is the first.

        Args:
            queries: float32 [n, dimensions] with float16 values.
            own_rows: document that is the query itself and is left out, int64 [n]; -1 for none.
            advance: called with the number of queries done in a part since the last call.
            first: the part to begin with: tasks that start together then build different indexes.

        Returns:
            ids int64 [n, k], scores float32 [n, k], padded with -1 and -2.
        """
        k, merged = self._settings.k, None
        for place in range(len(self)):
            part = (first + place) % len(self)
            start, end = self._starts[part], self._starts[part] + len(self._vectors[part])
            own = np.where((own_rows >= start) & (own_rows < end), own_rows - start, -1)
            ids, scores = self._index(part).nearest(queries, own, k, advance)
            ids[ids != NO_NEIGHBOR] += start
            if merged is not None:
                ids, scores = best(np.hstack([merged[0], ids]), np.hstack([merged[1], scores]), k)
            merged = ids, scores
        assert merged is not None, "there are no parts"
        return merged

    def _tuned(self, part: int) -> Tuned | None:
        if not is_tuned(self.plans[part].documents, self._settings):
            return None
        folder, settings = self._folder_of(part), self._settings
        known = None if folder is None else read_tuned(folder, settings.recall_target, settings.k)
        return known or self._index(part).tuned

    def _index(self, part: int) -> ScannIndex:
        if self._open is None or self._open[0] != part:
            self._open = None  # frees the other part's index first
            index = ScannIndex(self._vectors[part], self.plans[part], self._settings, self._folder_of(part))
            self._open = part, index
        return self._open[1]

    def _folder_of(self, part: int) -> Path | None:
        if self._folder is None or len(self) == 1:
            return self._folder
        return self._folder / f"{part:05d}-of-{len(self):05d}"
