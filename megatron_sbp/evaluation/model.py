"""Loads an exported checkpoint for scoring."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from megatron_sbp.errors import InputError


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps the warnings and bars of libraries away from the user."""
    import transformers

    verbosity, level = transformers.logging.get_verbosity(), logging.getLogger("transformers").level
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers.logging.set_verbosity(verbosity)
        logging.getLogger("transformers").setLevel(level)


def torch_device(choice: str) -> torch.device:
    """The device that `launch.device` means: auto takes CUDA where torch finds it.

    Raises:
        InputError: cuda is asked for and there is none.
    """
    if choice == "cuda" and not torch.cuda.is_available():
        raise InputError("asks for CUDA, but torch finds no device", key="launch.device")
    return torch.device("cuda" if choice == "cuda" or (choice == "auto" and torch.cuda.is_available()) else "cpu")


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
    with quiet():
        try:
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, attn_implementation="sdpa", local_files_only=True
            )
        except (OSError, ValueError) as error:
            raise InputError(f"transformers cannot load this checkpoint ({error})", file=folder) from error
    return model.to(device).eval()
