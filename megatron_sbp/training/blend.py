"""The blend of several sources: Megatron's, with an index that a node holds once."""

from __future__ import annotations

from typing import Any

import numpy as np
from megatron.core.datasets.blended_dataset import BlendedDataset

from megatron_sbp.training.index_cache import Arrays, IndexCache

SMALL = 1 << 20
"""Samples up to which every process makes its own index (10 MB)."""


class Blend(BlendedDataset):
    """Megatron's BlendedDataset of datasets that give a stated number of samples each, every sample once.

    Megatron keeps 10 bytes per sample in every process. Here a large index is made once, kept with 6 bytes per sample
    (10 from 2^32 samples on), and mapped by all ranks.

    Args:
        datasets: of one type, each at least as long as its samples.
        samples: to be taken from each, in order.
        config: Megatron's configuration, without path_to_cache.
        cache: where the index is kept; without it every process has its own.
    """

    def __init__(self, datasets: list[Any], samples: list[int], config: Any, cache: IndexCache | None = None):
        self._cache = cache if sum(samples) > SMALL else None
        super().__init__(datasets, samples, None, config)

    def _build_indices(self) -> tuple[np.ndarray, np.ndarray]:
        if self._cache is None:
            return super()._build_indices()
        make = super()._build_indices

        def build() -> Arrays:
            sources, samples = make()
            small = np.uint32 if len(samples) < 1 << 32 else np.int64
            return {"sources": sources, "samples": samples.astype(small)}

        arrays = self._cache.get("blend", {"samples": self.weights}, build)
        return arrays["sources"], arrays["samples"]
