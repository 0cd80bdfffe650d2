"""Tests that need a GPU: `pytest tests/gpu`, on a machine with one CUDA device, with two for test_parallel.py.

What a machine lacks is skipped with one line. `SBP_GPU_TESTS=cpu pytest tests/gpu` tries the tests out on CPU ranks.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.gpu_marks import DEVICE
from support.megatron_ranks import ROOT, Megatron, make_corpus


class OnGpu(Megatron):
    """The Megatron of tests/training on CUDA devices, with exact fp32 products (no TF32)."""

    device = DEVICE

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "NVIDIA_TF32_OVERRIDE": "0"}

    def start_from(self, origin: str, name: str, kind: str, sources: dict[str, int]) -> Path:
        """A training folder whose checkpoint is the nearly untrained model of `origin`."""
        target = self.data(name, sources, kind)
        shutil.copytree(self.folder / origin / "iter_0000001", target / "iter_0000001")
        shutil.copy(self.folder / origin / "latest_checkpointed_iteration.txt", target)
        return target


FRESH = ("--finetune", "--no-load-optim", "--no-load-rng")
"""Flags of a training that takes only the weights of the checkpoint it finds."""

KINDS: dict[str, tuple[dict[str, int], tuple[str, ...]]] = {
    "documents": ({"real": 60, "synthetic": 20}, ()),
    "pairs": ({"pairs": 80}, ("--calculate-per-token-loss",)),
}
"""Sources and flags of a training of 80 samples, by kind of data."""


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """The folder that make_corpus fills."""
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def on_gpu(corpus, tmp_path) -> OnGpu:
    return OnGpu(corpus, tmp_path)


@pytest.fixture
def on_cpu(corpus, tmp_path) -> Megatron:
    """In the same folder as `on_gpu`."""
    return Megatron(corpus, tmp_path)


@pytest.fixture(scope="session")
def run_script() -> Callable[[str], str]:
    """Runs Python code in a process of its own (it may replace names of torch for good); returns what it printed."""

    def run(code: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "NVIDIA_TF32_OVERRIDE": "0"}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout

    return run
