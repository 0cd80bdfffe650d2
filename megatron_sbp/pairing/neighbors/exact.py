"""Exact search: tiles of matrix products with a running top-k, on CPU or GPU."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

MISSING_SCORE = -2.0
"""Score where there are fewer than k other documents; below every cosine. Its id is -1."""


def search(
    queries: np.ndarray,
    first_row: int,
    shards: Iterable[np.ndarray],
    k: int,
    device: str = "cpu",
    tile: int = 8192,
    rows: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest documents of every query, the query itself left out.

    Args:
        queries: float32 [queries, dim], unit norm.
        first_row: row number of the first query among all documents; the others follow it.
        shards: all documents, one float32 [documents, dim] after another.
        k: neighbours per query.
        device: torch device.
        tile: queries, and documents, in one matrix product.
        rows: int64 [queries], row numbers of the queries where they do not follow one another.

    Returns:
        ids int64 [queries, k] and scores float32 [queries, k], best first, equal scores by lower id; -1 and
        MISSING_SCORE where documents are fewer.
    """
    import torch

    own = torch.arange(first_row, first_row + len(queries)) if rows is None else torch.from_numpy(rows)
    best = torch.full((len(queries), k), MISSING_SCORE, dtype=torch.float32)
    ids = torch.full((len(queries), k), -1, dtype=torch.int64)
    asked = torch.from_numpy(queries)
    begin = 0
    for shard in shards:
        documents = torch.from_numpy(shard)
        for start in range(0, len(documents), tile):
            block = documents[start : start + tile].to(device)
            numbers = torch.arange(begin + start, begin + start + len(block), device=device)
            for low in range(0, len(asked), tile):
                high = min(low + tile, len(asked))
                scores = asked[low:high].to(device) @ block.T
                scores[own[low:high].to(device)[:, None] == numbers[None]] = MISSING_SCORE
                joined = torch.cat([best[low:high].to(device), scores], dim=1)
                names = torch.cat([ids[low:high].to(device), numbers.expand(high - low, -1)], dim=1)
                # Earlier columns have lower ids, and a stable sort keeps them first among equals. Only the candidates
                # that can still win are sorted.
                kept = joined.topk(min(k, joined.shape[1]), dim=1).values[:, -1:]
                if bool(((joined >= kept).sum(1) > k).any()):
                    order = joined.argsort(dim=1, descending=True, stable=True)[:, :k]
                else:
                    order = joined.topk(k, dim=1, sorted=False).indices.sort(dim=1).values
                    order = order.gather(1, joined.gather(1, order).argsort(dim=1, descending=True, stable=True))
                best[low:high] = joined.gather(1, order).cpu()
                ids[low:high] = names.gather(1, order).cpu()
        begin += len(documents)
    ids[best <= MISSING_SCORE] = -1
    return ids.numpy(), best.numpy()
