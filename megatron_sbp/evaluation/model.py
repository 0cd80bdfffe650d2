"""Loads an exported checkpoint for scoring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.quiet import quiet_libraries


def device_name(device: torch.device) -> str:
    """`cpu`, or the GPU's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def load_model(folder: Path, device: torch.device) -> Any:
    """A causal language model in float32, in evaluation mode.

    Raises:
        InputError: the folder holds no checkpoint that transformers can load.
    """
    from transformers import AutoModelForCausalLM

    if not (folder / "config.json").exists():
        raise InputError("holds no exported checkpoint (config.json is missing)", file=folder)
    with quiet_libraries():
        try:
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, attn_implementation="sdpa", local_files_only=True
            )
        except (OSError, ValueError) as error:
            raise InputError(f"transformers cannot load this checkpoint ({error})", file=folder) from error
    return model.to(device).eval()
