"""Locates an embedding model: a folder, a Python package, or the Hugging Face hub."""

from __future__ import annotations

import importlib
from pathlib import Path

from megatron_sbp.base.errors import InputError

PACKAGE_PREFIX = "package:"
_KEY = "embedding.model"
_UNUSED = ("onnx", "openvino")
_UNUSED_SUFFIXES = (".md", ".onnx", ".h5", ".msgpack", ".ot")
"""Weights for other runtimes and documentation, which do not affect embeddings."""


def model_folder(model: str, folder: Path) -> Path | None:
    """The folder of a model, or None if `model` is a name on the Hugging Face hub.

    Args:
        model: `package:NAME` (the package's MODEL_DIR), a folder, or a name on the hub.
        folder: base of relative folders.

    Raises:
        InputError: no such package or folder, or a package without MODEL_DIR.
    """
    if model.startswith(PACKAGE_PREFIX):
        return _package_folder(model.removeprefix(PACKAGE_PREFIX))
    try:
        path = folder / Path(model).expanduser()
        if path.is_dir():
            return path
        if path.exists():
            raise InputError(f"is a file, not a model's folder: {path}", key=_KEY)
    except (RuntimeError, OSError) as error:  # ~unknown_user, and a name that is too long
        raise InputError(f"no such folder: {model} ({error})", key=_KEY) from error
    if model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise InputError(f"no such folder: {path}", key=_KEY)
    return None


def model_files(folder: Path) -> list[Path]:
    """Files of a model's folder that can change its embeddings, sorted by path."""
    found = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).parts
        hidden = any(part.startswith(".") for part in inside) or "__pycache__" in inside
        if path.is_file() and not hidden and inside[0] not in _UNUSED and path.suffix not in _UNUSED_SUFFIXES:
            found.append(path)
    if not found:
        raise InputError(f"the folder {folder} is empty", key=_KEY)
    # If there are safetensors, the pickled weights are not read.
    if any(path.suffix == ".safetensors" for path in found):
        found = [path for path in found if path.suffix not in (".bin", ".pt")]
    return found


def _package_folder(name: str) -> Path:
    try:
        package = importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"the Python package '{name}' cannot be imported ({error}); install it with "
            f"`pip install {name.replace('_', '-')}`",
            key=_KEY,
        ) from error
    place = getattr(package, "MODEL_DIR", None)
    if place is None:
        raise InputError(f"the package '{name}' has no MODEL_DIR, so it is not known where its model is", key=_KEY)
    if not Path(place).is_dir():
        raise InputError(f"the package '{name}' says that its model is in {place}, but there is no folder", key=_KEY)
    return Path(place)
