"""The order of a blend is Megatron's, with fewer bytes."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.training.data.blended_dataset import interleave, one_after_another


@pytest.mark.parametrize(
    "counts", [[5, 3], [1, 1], [1, 100_000], [60_001, 36_363], [7, 7, 7], [1000, 1, 30, 2], [333, 667]]
)
def test_the_order_is_megatrons(counts):
    from megatron.core.datasets import helpers_cpp

    sources, samples = np.zeros(sum(counts), np.int16), np.zeros(sum(counts), np.int64)
    helpers_cpp.build_exhaustive_blending_indices(sources, samples, counts, len(counts))
    ours = interleave(counts)
    assert (ours["sources"] == sources).all() and ours["sources"].dtype == np.int16
    assert (ours["samples"] == samples).all() and ours["samples"].dtype == np.uint32


def test_one_dataset_after_the_other():
    order = one_after_another([3, 2])
    assert order["sources"].tolist() == [0, 0, 0, 1, 1] and order["samples"].tolist() == [0, 1, 2, 0, 1]
    assert {key: values.dtype for key, values in order.items()} == {
        key: values.dtype for key, values in interleave([3, 2]).items()
    }
