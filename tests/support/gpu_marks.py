"""What a test in tests/gpu needs, as marks with the reason for skipping it."""

from __future__ import annotations

import importlib.util
import os

import pytest
import torch

REHEARSAL = os.environ.get("SBP_GPU_TESTS") == "cpu"
"""CPU ranks stand in for GPUs: the tests themselves are tried out, not the GPU."""

DEVICE = "cpu" if REHEARSAL else "cuda"
DEVICES = 2 if REHEARSAL else torch.cuda.device_count() if torch.cuda.is_available() else 0
HAS_TE = not REHEARSAL and importlib.util.find_spec("transformer_engine") is not None


def gpus(count: int) -> list[pytest.MarkDecorator]:
    """Marks of a file that needs `count` CUDA devices."""
    what = "a CUDA device" if count == 1 else f"{count} CUDA devices"
    return [pytest.mark.gpu, pytest.mark.timeout(900), pytest.mark.skipif(count > DEVICES, reason=f"needs {what}")]


transformer_engine = pytest.mark.skipif(not HAS_TE, reason="needs Transformer Engine and a CUDA device")
