"""Loads a Hugging Face causal language model with all of its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import AutoModelForCausalLM

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.quiet import quiet_libraries

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_COMPUTED = "rotary_emb.inv_freq"
"""Old Llama checkpoints contain tensors that every model computes from its config.json."""


def load_causal_model(folder: Path, dtype: torch.dtype, attention: str) -> PreTrainedModel:
    """The model of a folder, on the CPU. transformers makes up weights that are not there, and
    leaves out those that it does not know; here both are errors.

    Args:
        folder: config.json and safetensors files.
        dtype: of the weights.
        attention: name of an attention implementation of transformers.

    Raises:
        InputError: transformers cannot load it, or a tensor is missing, belongs to no part of the model that
            config.json describes, or has another shape than that says.
    """
    with quiet_libraries():
        try:
            model, found = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype,
                attn_implementation=attention,
                local_files_only=True,
                trust_remote_code=False,  # otherwise it prompts on the terminal, and waits
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # otherwise it rejects them without naming any
            )
        except MemoryError:
            raise
        except Exception as error:  # damaged files, quantization without its package, code of its own: anything
            said = " ".join(str(error).split())
            if isinstance(error, LookupError):  # which has no message of its own
                said = f"{type(error).__name__}: {said}"
            raise InputError(f"transformers cannot load this checkpoint ({said})", file=folder) from error
    absent, resized = sorted(found["missing_keys"]), sorted(found["mismatched_keys"])
    unknown = sorted(name for name in found["unexpected_keys"] if not name.endswith(_COMPUTED))
    if absent:
        raise InputError(f"lacks {_named(absent)} of the model", file=folder)
    if unknown:
        raise InputError(f"has {_named(unknown)} that the model of config.json does not have", file=folder)
    if resized:
        name, there, wanted = resized[0]
        raise InputError(f"{name} has the shape {[*there]}, but config.json wants {[*wanted]}", file=folder)
    return model


def _named(tensors: list[str]) -> str:
    """The first of them, and how many there are."""
    return tensors[0] + (f" and {len(tensors) - 1} more tensors" if len(tensors) > 1 else "")
