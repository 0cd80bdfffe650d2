"""Matrix products on a CPU, by whichever of two libraries is faster on this processor, for several threads at once."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator

import numpy as np
import threadpoolctl
import torch

Product = Callable[[np.ndarray, np.ndarray, np.ndarray], object]
"""Multiplies float32 [n, d] by float32 [d, m] into float32 [n, m]; each call uses one thread."""


@contextlib.contextmanager
def products(dimensions: int) -> Iterator[tuple[Product, int]]:
    """The faster product, and how many threads may call it at a time: as many as torch would use itself.

    Inside the block, the libraries use no threads of their own: those that share a product wait for one another, and
    OpenBLAS's do so at the cost of the others.

    Args:
        dimensions: d, of the vectors that are multiplied.
    """
    threads = torch.get_num_threads()
    with threadpoolctl.threadpool_limits(1, user_api="blas"), matmul_precision("highest"):
        torch.set_num_threads(1)
        try:
            yield _faster(dimensions), threads
        finally:
            torch.set_num_threads(threads)


@contextlib.contextmanager
def matmul_precision(name: str) -> Iterator[None]:
    """torch's precision of float32 products inside the block: highest, or high, in which CUDA may multiply in TF32."""
    former = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(former)


def by_numpy(left: np.ndarray, right: np.ndarray, into: np.ndarray) -> None:
    """By the library that NumPy was built with: usually OpenBLAS."""
    np.matmul(left, right, out=into)


def by_torch(left: np.ndarray, right: np.ndarray, into: np.ndarray) -> None:
    """By the library that torch was built with: usually MKL, which is made for processors of one maker."""
    torch.set_num_threads(1)  # a thread that has not called torch before would start others
    with torch.inference_mode():
        torch.mm(torch.from_numpy(left), torch.from_numpy(right), out=torch.from_numpy(into))


@functools.cache
def _faster(dimensions: int) -> Product:
    """Measured once per process, in a tenth of a second; either one leads to the same neighbors."""
    queries, documents = (np.ones((rows, dimensions), np.float32) for rows in (256, 4096))
    scores = np.empty((len(queries), len(documents)), np.float32)
    seconds: dict[Product, list[float]] = {by_numpy: [], by_torch: []}
    for _ in range(4):  # the first of each is not counted: libraries and memory are made ready
        for product, measured in seconds.items():
            started = time.perf_counter()
            product(queries, documents.T, scores)
            measured.append(time.perf_counter() - started)
    return min(seconds, key=lambda product: min(seconds[product][1:]))
