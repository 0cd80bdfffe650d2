"""Which files of a Hugging Face checkpoint's folder count. No torch."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.hugging_face_names import ADDED_TOKENS, SPECIAL_TOKENS

PROVENANCE = "provenance.json"
"""In an export: of which training run, with digests of its weights and its tokenizer."""
ONE_FILE, INDEX = "model.safetensors", "model.safetensors.index.json"

TOKENIZER_FILES = ("tokenizer*", SPECIAL_TOKENS, ADDED_TOKENS, "roles.json", "chat_template*")
"""Patterns of a tokenizer's files, as they are copied to an export and looked for in a start."""


WEIGHT_FILES = (ONE_FILE, INDEX, "model-*-of-*.safetensors")
"""Patterns of the files of weights that an export has."""


def weight_map(folder: Path) -> dict[Path, list[str] | None]:
    """Safetensors files of a checkpoint, and the tensors that its index expects in each (None: all).

    Raises:
        InputError: there are none, or one that the index names is missing.
    """
    if not (folder / INDEX).exists():
        if not (folder / ONE_FILE).exists():
            raise InputError(f"holds neither {ONE_FILE} nor {INDEX}", file=folder)
        return {folder / ONE_FILE: None}
    index = files.read_json(folder / INDEX)
    found: dict[Path, list[str] | None] = {}
    try:
        for name, file in index["weight_map"].items():
            found.setdefault(folder / file, []).append(name)  # type: ignore[union-attr]
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError("has no weight_map from tensors to files", file=folder / INDEX) from error
    for file in found:
        if not file.exists():
            raise InputError(f"is missing, though {INDEX} names it", file=file)
    return found


def weight_files(folder: Path) -> list[Path]:
    """The files of a folder that hold or place its weights, the index included; raises as `weight_map` does."""
    index = [folder / INDEX] if (folder / INDEX).exists() else []
    return [*index, *sorted(weight_map(folder))]


def tokenizer_files(folder: Path) -> list[Path]:
    """The files of a folder that belong to its tokenizer."""
    return sorted({file for pattern in TOKENIZER_FILES for file in folder.glob(pattern) if file.is_file()})
