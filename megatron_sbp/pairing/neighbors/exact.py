"""Exact nearest neighbors: tiles of matrix products with a running top-k, on CPU or GPU."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import zip_longest

import numpy as np
import torch

from megatron_sbp.base.read_ahead import read_ahead
from megatron_sbp.pairing.neighbors.products import matmul_precision, products
from megatron_sbp.pairing.neighbors.reservoir import Reservoirs
from megatron_sbp.pairing.neighbors.scores import MARGIN, best, inner_products
from megatron_sbp.pairing.neighbors.vectors import Vectors

_TILES = {"cpu": (512, 8192), "cuda": (4096, 65536)}
"""Queries and documents of one matrix product."""

_ROUNDING = 4e-6
"""Inner products of unit vectors in float32 are off by less than half of this."""


def nearest(
    queries: np.ndarray,
    own_rows: np.ndarray,
    vectors: Vectors,
    k: int,
    *,
    device: str = "cpu",
    advance: Callable[[int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k documents with the largest inner product, for every query.

    2 n N d floating point operations; of the N documents one tile is in memory at a time. A search in float32 finds
    k + 16 candidates, which are then ranked by their scores in float64. Queries for which that margin is not enough
    (many equal vectors) are searched again in float64.

    Args:
        queries: float32 [n, dimensions] with float16 values, unit norm.
        own_rows: row of `vectors` that is the query itself and is left out, int64 [n]; -1 for none.
        vectors: the N documents.
        k: neighbors wanted.
        device: cpu or cuda.
        advance: called with the number of documents compared since the last call.

    Returns:
        ids int64 [n, k], best first, equal scores by ascending id, -1 where there are fewer than k; scores float32
        [n, k], -2 where there are fewer.

    Raises:
        InputError: a document's vector is not finite or does not have length 1.
    """
    search = _on_cpu if device == "cpu" else _on_gpu
    ids = search(queries, own_rows, vectors, k + MARGIN, advance)
    scores = inner_products(queries, ids, vectors)
    ids, scores = best(ids, scores, k + MARGIN)
    unsettled = np.flatnonzero((ids[:, -1] >= 0) & (scores[:, k - 1] - scores[:, -1] < _ROUNDING))
    ids, scores = np.ascontiguousarray(ids[:, :k]), np.ascontiguousarray(scores[:, :k])
    for begin in range(0, len(unsettled), _TILES[device][0]):
        rows = unsettled[begin : begin + _TILES[device][0]]
        ids[rows] = _sorted_search(queries[rows], own_rows[rows], vectors, k, device)
        scores[rows] = inner_products(queries[rows], ids[rows], vectors)
    return ids, scores


def _on_cpu(
    queries: np.ndarray,
    own_rows: np.ndarray,
    vectors: Vectors,
    wanted: int,
    advance: Callable[[int], None] | None,
) -> np.ndarray:
    """int64 [n, wanted]: the best by float32 scores, in any order, -1 for none.

    Every thread multiplies and selects for queries of its own, and starts the next tile without waiting for the others:
    threads that share a product, or meet after it, are idle for a tenth of the time.
    """
    most, tile_size = _TILES["cpu"]
    found = Reservoirs(len(queries), wanted)
    own = threading.local()

    def search(mine: slice, first: int, tile: np.ndarray, before: Future[None] | None) -> None:
        if before:
            before.result()  # of the same queries, with the tile before
        if not hasattr(own, "room"):
            own.room = np.empty(most * tile_size, np.float32)  # fresh memory for every product costs more
        asked = queries[mine]
        scores = own.room[: len(asked) * len(tile)].reshape(len(asked), len(tile))
        product(asked, tile.T, scores)
        columns = own_rows[mine] - first
        here = np.flatnonzero((columns >= 0) & (columns < len(tile)))
        scores[here, columns[here]] = -np.inf
        found.offer(mine.start, scores, first)

    with products(vectors.dimensions) as (product, threads), ThreadPoolExecutor(threads) as pool:
        rounds = max(1, -(-len(queries) // (most * threads)))
        size = max(1, -(-len(queries) // (rounds * threads)))  # as many queries for every thread
        cuts = [slice(begin, begin + size) for begin in range(0, len(queries), size)]
        former: list[Future[None]] = []
        for first, tile in vectors.tiles(tile_size):
            begun = [pool.submit(search, cut, first, tile, before) for cut, before in zip_longest(cuts, former)]
            wait(former)  # the next tile takes the place of theirs
            former = begun
            if advance:
                advance(len(tile))
        for each in former:
            each.result()
    return found.ids()


def _on_gpu(
    queries: np.ndarray,
    own_rows: np.ndarray,
    vectors: Vectors,
    wanted: int,
    advance: Callable[[int], None] | None,
    *,
    device: str = "cuda",
) -> np.ndarray:
    """As `_on_cpu`; the queries stay on the device, and documents are read while those before them are compared."""
    block, tile_size = _TILES[device]
    asked = torch.from_numpy(queries).to(device)
    own = torch.from_numpy(own_rows).to(device)
    top_scores = torch.full((len(queries), wanted), -torch.inf, device=device)
    top_ids = torch.full((len(queries), wanted), -1, dtype=torch.int64, device=device)
    # TF32 holds float16 values exactly, and adds in float32.
    with matmul_precision("high" if device == "cuda" else "highest"), torch.inference_mode():
        for place, row, half in read_ahead(_pinned_tiles(vectors, tile_size, device)):
            first = int(vectors.starts[place]) + row
            tile = half.to(device, non_blocking=True).float()
            if not vectors.checked:  # the copy of the norms waits for all work on the device
                vectors.check(place, row, torch.linalg.vector_norm(tile, dim=1).cpu().numpy())
            for begin in range(0, len(queries), block):
                mine = slice(begin, begin + block)
                scores = asked[mine] @ tile.T
                _leave_out(scores, own[mine] - first, -torch.inf)
                found = torch.topk(scores, min(wanted, len(tile)), dim=1, sorted=False)
                both = torch.cat([top_scores[mine], found.values], dim=1)
                ids = torch.cat([top_ids[mine], found.indices + first], dim=1)
                kept = torch.topk(both, wanted, dim=1, sorted=False)
                top_scores[mine] = kept.values
                top_ids[mine] = torch.gather(ids, 1, kept.indices)
            if advance:
                advance(len(tile))
    top_ids[top_scores == -torch.inf] = -1  # the query itself, when there are few documents
    return top_ids.cpu().numpy()


def _pinned_tiles(vectors: Vectors, size: int, device: str) -> Iterator[tuple[int, int, torch.Tensor]]:
    """(number of the file, first row, float16 [rows, dimensions] in memory that the device copies from by itself)."""
    for place, begin, end in vectors.cuts(size):
        half = torch.from_numpy(np.array(vectors.raw(place, begin, end)))
        yield place, begin, half.pin_memory() if device == "cuda" else half


def _sorted_search(queries: np.ndarray, own_rows: np.ndarray, vectors: Vectors, k: int, device: str) -> np.ndarray:
    """int64 [n, k] by float64 products and stable sorts: slow, and right with any number of equal scores."""
    asked = torch.from_numpy(queries).to(device, torch.float64)
    own = torch.from_numpy(own_rows).to(device)
    top_scores = torch.empty((len(queries), 0), device=device)
    top_ids = torch.empty((len(queries), 0), dtype=torch.int64, device=device)
    with torch.inference_mode():
        for first, rows in vectors.tiles(_TILES[device][1]):
            tile = torch.from_numpy(rows).to(device, torch.float64)
            scores = (asked @ tile.T).float()
            _leave_out(scores, own - first, -torch.inf)
            ids = torch.arange(first, first + len(rows), device=device).expand(len(queries), -1)
            both = torch.cat([top_scores, scores], dim=1)
            ids = torch.cat([top_ids, ids], dim=1)
            order = torch.argsort(both, dim=1, descending=True, stable=True)[:, :k]
            top_scores, top_ids = torch.gather(both, 1, order), torch.gather(ids, 1, order)
    return top_ids.cpu().numpy()


def _leave_out(scores: torch.Tensor, columns: torch.Tensor, value: float) -> None:
    """Overwrites scores[i, columns[i]] wherever that column exists."""
    rows = torch.nonzero((columns >= 0) & (columns < scores.shape[1])).squeeze(1)
    scores[rows, columns[rows]] = value
