"""Loads a Hugging Face causal language model with all of its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.quiet import quiet_libraries


def load_causal_model(folder: Path, dtype: torch.dtype, attention: str) -> Any:
    """The model of a folder, on the CPU. transformers makes up weights that are not there; here they are an error.

    Args:
        folder: config.json and safetensors files.
        dtype: of the weights.
        attention: name of an attention implementation of transformers.

    Raises:
        InputError: transformers cannot load it, or a tensor is missing or has another shape than config.json says.
    """
    with quiet_libraries():
        try:
            model, found = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype,
                attn_implementation=attention,
                local_files_only=True,
                trust_remote_code=False,  # else it asks on the terminal, and waits
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # else it refuses them without naming any
            )
        except MemoryError:
            raise
        except Exception as error:  # damaged files, quantization without its package, code of its own: anything
            said = " ".join(str(error).split())
            if isinstance(error, LookupError):  # which has no words of its own
                said = f"{type(error).__name__}: {said}"
            raise InputError(f"transformers cannot load this checkpoint ({said})", file=folder) from error
    absent, resized = sorted(found["missing_keys"]), sorted(found["mismatched_keys"])
    if absent:
        more = f" and {len(absent) - 1} more tensors" if len(absent) > 1 else ""
        raise InputError(f"lacks {absent[0]}{more} of the model", file=folder)
    if resized:
        name, there, wanted = resized[0]
        raise InputError(f"{name} has the shape {[*there]}, but config.json wants {[*wanted]}", file=folder)
    return model
