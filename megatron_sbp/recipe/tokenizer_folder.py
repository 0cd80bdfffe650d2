"""The folder that `tokenizer.path` names."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.hugging_face_names import ADDED_TOKENS, CONFIG, SPECIAL_TOKENS
from megatron_sbp.recipe import Recipe

_TOKENIZER_FILES = ("tokenizer*", SPECIAL_TOKENS, ADDED_TOKENS, "vocab*", "merges.txt", CONFIG)
"""Files that transformers reads in a tokenizer's folder, besides SentencePiece's `*.model`."""


def local_tokenizer(recipe: Recipe) -> Path | None:
    """The folder that tokenizer.path names, or None for a name on the hub (and without a path)."""
    path = recipe.tokenizer.path
    if path is None:
        return None
    folder = folder_named(recipe, path)
    if folder.is_dir():
        if not any(tokenizer_files(folder)):
            raise InputError(f"no tokenizer in the folder {folder}", file=recipe.source, key="tokenizer.path")
        return folder
    if folder.exists():
        raise InputError(f"is a file, not a tokenizer's folder: {folder}", file=recipe.source, key="tokenizer.path")
    if path.startswith((".", "/", "~")) or path.count("/") > 1:
        raise InputError(f"no such folder: {folder}", file=recipe.source, key="tokenizer.path")
    return None


def folder_named(recipe: Recipe, path: str) -> Path:
    """Path of a folder of this name: relative to the recipe, with `~` expanded."""
    try:
        return recipe.folder / Path(path).expanduser()
    except RuntimeError:  # ~USER for an unknown user
        return recipe.folder / path


def tokenizer_files(folder: Path) -> list[Path]:
    """Files of a folder that transformers may read to load its tokenizer."""
    return [path for pattern in (*_TOKENIZER_FILES, "*.model") for path in folder.glob(pattern)]
