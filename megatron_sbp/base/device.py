"""Where torch computes."""

from __future__ import annotations

from megatron_sbp.base.errors import InputError


def compute_device(wanted: str) -> str:
    """cpu or cuda; `auto` is CUDA where torch finds it. Raises InputError when cuda is wanted and there is none."""
    import torch

    if wanted == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise InputError("is cuda, but torch finds no CUDA device here", key="launch.device")
    return "cpu"
