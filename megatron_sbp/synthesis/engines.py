"""The generation engines by name."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from megatron_sbp.synthesis.engine import Engine, EngineSettings


@lru_cache(maxsize=1)
def load_engine(name: Literal["transformers", "vllm"], settings: EngineSettings) -> Engine:
    """Loads a synthesizer, once for all shards that a process writes.

    Raises:
        InputError: the engine is not installed, or the checkpoint does not load.
    """
    if name == "vllm":
        from megatron_sbp.synthesis.vllm_engine import VllmEngine

        return VllmEngine(settings)
    from megatron_sbp.synthesis.transformers_engine import TransformersEngine

    return TransformersEngine(settings)
