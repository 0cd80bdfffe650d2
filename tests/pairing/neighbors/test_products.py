"""Matrix products of whichever library is faster."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from megatron_sbp.pairing.neighbors import products
from megatron_sbp.pairing.neighbors.products import by_numpy, by_torch


def blas_threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.mark.parametrize("product", [by_numpy, by_torch])
def test_a_product_is_right(product):
    random = np.random.default_rng(0)
    left, right = (random.standard_normal((rows, 96), np.float32) for rows in (5, 70))
    into = np.empty((5, 70), np.float32)
    product(left, right.T, into)
    np.testing.assert_allclose(into, left.astype(np.float64) @ right.T, atol=1e-4)


@pytest.fixture
def three_threads():
    former = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(former)


@pytest.mark.usefixtures("three_threads")
def test_libraries_have_one_thread_inside_and_their_own_number_afterwards():
    former = blas_threads()
    with pytest.raises(KeyError), products.products(96) as (product, threads):
        assert threads == 3 and product in (by_numpy, by_torch)
        assert blas_threads() == {1} and torch.get_num_threads() == 1
        raise KeyError
    assert blas_threads() == former and torch.get_num_threads() == 3


@pytest.fixture
def measured_again():
    products._faster.cache_clear()
    yield
    products._faster.cache_clear()


@pytest.mark.usefixtures("measured_again")
@pytest.mark.parametrize("slow", [by_numpy, by_torch])
def test_the_faster_one_is_taken(slow, monkeypatch):
    def slowed(*arrays: np.ndarray) -> None:
        for _ in range(20):
            slow(*arrays)

    other = {by_numpy: by_torch, by_torch: by_numpy}[slow]
    monkeypatch.setattr(products, slow.__name__, slowed)
    with products.products(32) as (product, _):
        assert product is other
