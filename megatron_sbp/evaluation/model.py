"""Loads an exported checkpoint for scoring."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.hugging_face_names import CONFIG
from megatron_sbp.base.quiet import quiet_libraries
from megatron_sbp.base.untyped import JsonObject

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def device_name(device: torch.device) -> str:
    """`cpu`, or the GPU's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def load_model(folder: Path, device: torch.device) -> PreTrainedModel:
    """A causal language model in float32, in evaluation mode.

    Raises:
        InputError: the folder holds no checkpoint that transformers can load, or one without some of its weights.
    """
    from megatron_sbp.checkpoint.causal_model import load_causal_model

    if not (folder / CONFIG).exists():
        raise InputError("holds no exported checkpoint (config.json is missing)", file=folder)
    return load_causal_model(folder, torch.float32, "sdpa").to(device).eval()


def model_of(config: JsonObject, tensors: dict[str, torch.Tensor], device: torch.device) -> PreTrainedModel:
    """The model that `load_model` would give, from what `checkpoint.hugging_face.read_weights` reads."""
    from transformers import AutoConfig, AutoModelForCausalLM

    with quiet_libraries():
        made = AutoConfig.for_model(**config)
        model = AutoModelForCausalLM.from_config(made, dtype=torch.float32, attn_implementation="sdpa")
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    tied = {"lm_head.weight"} if config["tie_word_embeddings"] else set()
    assert set(missing) <= tied and not unexpected, (missing, unexpected)
    model.tie_weights()
    return model.to(device).eval()
