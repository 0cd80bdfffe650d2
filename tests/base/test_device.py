from __future__ import annotations

import pytest
import torch

from megatron_sbp.base.device import compute_device
from megatron_sbp.base.errors import InputError


def test_device():
    assert compute_device("cpu") == "cpu"
    assert compute_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_cuda():
    with pytest.raises(InputError, match=r"'launch.device': is cuda, but torch finds no CUDA device"):
        compute_device("cuda")
