"""Approximate nearest neighbors by ScaNN: a tree of partitions, asymmetric hashing, exact reordering."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.locks import locked
from megatron_sbp.base.memory import free_memory
from megatron_sbp.pairing.neighbors.scann_files import build, is_built, quiet_file_descriptors
from megatron_sbp.pairing.neighbors.scann_plan import ScannPlan
from megatron_sbp.pairing.neighbors.scann_tree import is_tuned
from megatron_sbp.pairing.neighbors.scann_tuning import Tuned, read_tuned, tune, write_tuned
from megatron_sbp.pairing.neighbors.scores import best, inner_products
from megatron_sbp.pairing.neighbors.vectors import Vectors
from megatron_sbp.recipe import Neighbors

_QUERIES = 4096


def load_scann() -> ModuleType:
    """The module scann.scann_ops_pybind; raises InputError where it cannot be imported."""
    try:
        with quiet_file_descriptors():
            from scann.scann_ops.py import scann_ops_pybind
    except ImportError as error:
        raise InputError(
            f"ScaNN cannot be imported ({error}); it has wheels for Linux on x86-64 and aarch64 (`pip install scann`). "
            "neighbors.engine: exact needs no additional package",
            key="neighbors.engine",
        ) from error
    return scann_ops_pybind


class ScannIndex:
    """A searchable index over all vectors of a split.

    Args:
        vectors: the documents.
        plan: how it is built.
        settings: k, and what the recipe says of how far a query looks.
        folder: where the index is kept for other processes; built there by the first one, loaded by the others. None
            builds it for this process only.

    Raises:
        InputError: ScaNN is not installed, too little memory or disk, or a bad vector.
    """

    def __init__(self, vectors: Vectors, plan: ScannPlan, settings: Neighbors, folder: Path | None = None):
        scann = load_scann()
        self.vectors, self.plan = vectors, plan
        _check_memory(plan)
        with contextlib.ExitStack() as stack:
            if folder is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scann-"))) / "index"
            else:
                lock = folder.with_name(f".{folder.name}.lock")
                stack.enter_context(locked(lock, "neighbors"))
            if not is_built(folder, plan, vectors):
                build(scann, vectors, plan, folder)
            with quiet_file_descriptors():
                self._searcher = scann.load_searcher(str(folder))
            self._searcher.searcher.set_num_threads(len(os.sched_getaffinity(0)))
            self.tuned = self._tuned(settings, folder) if is_tuned(plan.documents, settings) else None

    def nearest(
        self, queries: np.ndarray, own_rows: np.ndarray, k: int, advance: Callable[[int], None] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest documents of every query, as far as ScaNN finds them; scored and ranked as in scores.py.

        Args:
            queries: float32 [n, dimensions] with float16 values.
            own_rows: document that is the query itself and is left out, int64 [n]; -1 for none.
            k: neighbors wanted; no more than the plan was made for.
            advance: called with the number of queries done since the last call.

        Returns:
            ids int64 [n, k], scores float32 [n, k], padded with -1 and -2.
        """
        far = (self.plan.leaves_to_search, self.plan.reorder)
        if self.tuned is not None:
            far = (self.tuned.leaves_to_search, self.tuned.reorder)
        return self._nearest(queries, own_rows, k, far, advance)

    def _tuned(self, settings: Neighbors, folder: Path) -> Tuned:
        known = read_tuned(folder, settings.recall_target, settings.k)
        if known is not None:
            return known

        def search(queries: np.ndarray, own_rows: np.ndarray, leaves: int, reorder: int) -> np.ndarray:
            return self._nearest(queries, own_rows, settings.k, (leaves, reorder))[0]

        fixed = settings.reorder is not None
        target, k = settings.recall_target, settings.k
        tuned = tune(search, self.vectors, self.plan, target=target, k=k, fixed_reorder=fixed)
        write_tuned(tuned, folder)
        return tuned

    def _nearest(
        self,
        queries: np.ndarray,
        own_rows: np.ndarray,
        k: int,
        far: tuple[int, int],
        advance: Callable[[int], None] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `nearest`; `far` is how many leaves to search and how many candidates to score exactly."""
        further = {"leaves_to_search": far[0], "pre_reorder_num_neighbors": far[1]} if self.plan.leaves else {}
        ids, scores = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
        for begin in range(0, len(queries), _QUERIES):
            mine = slice(begin, begin + _QUERIES)
            found, distances = self._searcher.search_batched_parallel(np.ascontiguousarray(queries[mine]), **further)
            found = found.astype(np.int64)
            found[~np.isfinite(distances)] = -1  # fewer documents in the leaves than wanted: padded with 0 and NaN
            found[found == own_rows[mine, None]] = -1
            exact = inner_products(queries[mine], found, self.vectors)
            ids[mine], scores[mine] = best(found, exact, k)
            if advance:
                advance(len(found))
        return ids, scores


def _check_memory(plan: ScannPlan) -> None:
    """ScaNN holds the vectors in float32, and half a byte per dimension and document for the hashes."""
    needed = plan.documents * plan.dimensions * 4.5
    available = free_memory()
    if needed > available:
        raise InputError(
            f"ScaNN needs about {needed / 2**30:.1f} GiB for {plan.documents:,} vectors of {plan.dimensions} "
            f"dimensions, but {available / 2**30:.1f} GiB are available; lower "
            "neighbors.documents_per_index, or use neighbors.engine: exact, which reads them in tiles",
            key="neighbors.documents_per_index",
        )
