"""Generation engines by name."""

from __future__ import annotations

import gc
from typing import Literal

from megatron_sbp.synthesis.engine import Engine, EngineSettings, StreamingEngine

_loaded: dict[tuple[str, EngineSettings], Engine | StreamingEngine] = {}
"""The last engine loaded; earlier ones are not kept."""


def load_engine(name: Literal["transformers", "vllm"], settings: EngineSettings) -> Engine | StreamingEngine:
    """Loads a synthesizer, once for all shards of a process.

    Raises:
        InputError: the engine is not installed, or the checkpoint does not load.
    """
    key = (name, settings)
    if key not in _loaded:
        if _loaded:
            # Freed before loading the next one: two may not fit in memory, and vLLM's exit destroys its process groups.
            _loaded.clear()
            gc.collect()
        _loaded[key] = _load(name, settings)
    return _loaded[key]


def _load(name: str, settings: EngineSettings) -> Engine | StreamingEngine:
    if name == "vllm":
        from megatron_sbp.synthesis.vllm_engine import VllmEngine

        return VllmEngine(settings)
    from megatron_sbp.synthesis.transformers_engine import TransformersEngine

    return TransformersEngine(settings)
