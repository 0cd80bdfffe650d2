"""ScaNN, the paper's engine: a tree of partitions, quantised scoring, exact scoring of the best."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from megatron_sbp import files
from megatron_sbp.errors import InputError
from megatron_sbp.recipe import Neighbors

SMALL = 2_000
"""Fewer documents than this are searched by ScaNN's brute force: a tree would have nothing to save."""


def parameters(settings: Neighbors, documents: int) -> dict[str, Any]:
    """The index parameters for a number of documents: those of the recipe, or ScaNN's rules of thumb.

    Args:
        settings: the recipe's neighbors section.
        documents: in the index.
    """
    if documents < SMALL:
        return {"method": "brute force"}
    leaves = settings.leaves or max(1, round(math.sqrt(documents)))
    return {
        "method": "tree, asymmetric hashing, reordering",
        "leaves": leaves,
        "leaves_to_search": min(leaves, settings.leaves_to_search or max(1, -(-leaves // 4))),
        "reorder": max(settings.k + 1, settings.reorder or max(100, 4 * settings.k)),
    }


def _scann():
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        from scann.scann_ops.py import scann_ops_pybind
    except ImportError as error:
        raise InputError(
            "the package scann is not installed (it exists for x86-64 Linux only); "
            "neighbors.engine=exact needs nothing and runs on GPUs too",
            key="neighbors.engine",
        ) from error
    return scann_ops_pybind


def build(vectors: np.ndarray, settings: Neighbors, folder: Path) -> None:
    """Builds an index and stores it.

    Args:
        vectors: float32 [documents, dim], unit norm.
        settings: the recipe's neighbors section.
        folder: gets its name when the index is complete.
    """
    chosen = parameters(settings, len(vectors))
    builder = _scann().builder(vectors, settings.k + 1, "dot_product").set_n_training_threads(1)
    if "leaves" in chosen:
        builder = (
            builder.tree(
                num_leaves=chosen["leaves"],
                num_leaves_to_search=chosen["leaves_to_search"],
                training_sample_size=min(len(vectors), 250 * chosen["leaves"]),
            )
            .score_ah(2, anisotropic_quantization_threshold=0.2)
            .reorder(chosen["reorder"])
        )
    else:
        builder = builder.score_brute_force()
    searcher = builder.build()
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    # With absolute paths inside, the index could not be read from another mount point.
    searcher.serialize(str(partial), relative_path=True)
    files.write_json(partial / "parameters.json", chosen)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def search(folder: Path, queries: np.ndarray, first_row: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest documents of every query by the index in `folder`, the query itself left out.

    Args:
        folder: what `build` made.
        queries: float32 [queries, dim].
        first_row: row number of the first query among all documents.
        k: neighbours per query.

    Returns:
        ids int64 [queries, k] and scores float32 [queries, k], as `exact.search` gives them.
    """
    from megatron_sbp.pairing.neighbors.exact import MISSING_SCORE

    searcher = _scann().load_searcher(str(folder))
    # One more than asked for: the document itself is among its neighbours.
    found, scores = searcher.search_batched_parallel(queries, final_num_neighbors=k + 1)
    found, scores = found.astype(np.int64), scores.astype(np.float32)
    if found.shape[1] < k + 1:
        width = ((0, 0), (0, k + 1 - found.shape[1]))
        found = np.pad(found, width, constant_values=-1)
        scores = np.pad(scores, width, constant_values=MISSING_SCORE)
    own = np.arange(first_row, first_row + len(queries))[:, None]
    scores = np.where((found == own) | (found < 0) | ~np.isfinite(scores), np.float32(MISSING_SCORE), scores)
    found = np.where(scores <= MISSING_SCORE, -1, found)
    order = np.lexsort((found, -scores), axis=1)[:, :k]
    return np.take_along_axis(found, order, 1), np.take_along_axis(scores, order, 1)
