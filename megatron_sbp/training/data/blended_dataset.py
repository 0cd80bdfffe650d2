"""The blend of several sources: Megatron's, with an index that a node holds once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numba
import numpy as np
from megatron.core.datasets.blended_dataset import BlendedDataset

from megatron_sbp.base.compiling import CACHED
from megatron_sbp.training.data.index_cache import Arrays, IndexCache

if TYPE_CHECKING:
    import torch
    from megatron.core.datasets.blended_megatron_dataset_config import BlendedMegatronDatasetConfig

SMALL = 1 << 20
"""Samples up to which every process makes its own index (6 MB)."""


class Blend(BlendedDataset):
    """Megatron's BlendedDataset of datasets that give a stated number of samples each, every sample once.

    The order is Megatron's, sample for sample, unless the datasets are to follow one another. Megatron's index takes 10
    bytes per sample in every process; here it is 6 (10 from 2^32 samples on), a large one is made once and mapped by
    all ranks, and a single source needs none.

    Args:
        datasets: of one type, each at least as long as its samples.
        samples: to be taken from each, in order.
        config: Megatron's configuration, without path_to_cache.
        cache: where the index is kept; without it every process has its own.
        in_turn: the datasets follow one another, in their order, rather than alternating in proportion.
    """

    def __init__(
        self,
        datasets: list[torch.utils.data.Dataset],
        samples: list[int],
        config: BlendedMegatronDatasetConfig,
        cache: IndexCache | None = None,
        in_turn: bool = False,
    ):
        assert all(len(dataset) >= count for dataset, count in zip(datasets, samples, strict=True))
        self._cache = cache if sum(samples) > SMALL else None
        self._in_turn = in_turn
        super().__init__(datasets, samples, None, config)

    def _build_indices(self) -> tuple[Sequence[int] | np.ndarray, Sequence[int] | np.ndarray]:
        if len(self.weights) == 1:
            return np.broadcast_to(np.int16(0), self.weights[0]), range(self.weights[0])
        order = one_after_another if self._in_turn else interleave
        if self._cache is None:
            arrays = order(self.weights)
        else:
            identity = {"samples": self.weights, **({"in_turn": True} if self._in_turn else {})}
            arrays = self._cache.get("blend", identity, lambda: order(self.weights))
        return arrays["sources"], arrays["samples"]


def interleave(counts: list[int]) -> Arrays:
    """Order in which sources give their samples, as Megatron's build_exhaustive_blending_indices has it.

    Args:
        counts: samples of every source, at least one each.

    Returns:
        sources, int16 [sum of counts], and samples, uint32 or int64 likewise: number of the sample in its source.
    """
    arrays = _empty(counts)
    _interleave(np.array(counts, np.int64), arrays["sources"], arrays["samples"])
    return arrays


def one_after_another(counts: list[int]) -> Arrays:
    """All samples of the first source, then all of the second, and so on; see `interleave`."""
    arrays, begin = _empty(counts), 0
    for source, count in enumerate(counts):
        arrays["sources"][begin : begin + count] = source
        arrays["samples"][begin : begin + count] = np.arange(count)
        begin += count
    return arrays


def _empty(counts: list[int]) -> Arrays:
    total = sum(counts)
    samples = np.empty(total, np.uint32 if max(counts) < 1 << 32 else np.int64)
    return {"sources": np.empty(total, np.int16), "samples": samples}


@numba.njit(nogil=True, cache=CACHED)
def _interleave(counts: np.ndarray, sources: np.ndarray, samples: np.ndarray) -> None:
    """Next comes the source that is furthest behind its share, of those that have samples left."""
    weights = counts / len(sources)
    given = np.zeros(len(counts), np.int64)
    for place in range(len(sources)):
        chosen, most = -1, -np.inf
        for source in range(len(counts)):
            if given[source] < counts[source]:
                behind = weights[source] * max(place, 1) - given[source]
                if behind > most:
                    chosen, most = source, behind
        sources[place] = chosen
        samples[place] = given[chosen]
        given[chosen] += 1
