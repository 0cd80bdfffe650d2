"""Optional packages for training, and the cost of not having them."""

from __future__ import annotations

UNFUSED = (
    ("transformer_engine", "Transformer Engine", (
        "norms, rotary embedding and SwiGLU are kernels of their own, each with a round trip to memory; "
        "no fp8, no context parallelism, no sequence parallelism"
    )),
    ("amp_C", "Apex", "gradients are added and clipped parameter by parameter, in one more pass over them"),
)  # fmt: skip
"""Module, name, and cost of not having packages with fused kernels."""
