"""Hugging Face hub names: looked up in the local cache, and refused at once if the network is not allowed.

Stages run offline by default: a compute node without a network would otherwise wait minutes for each name.
"""

from __future__ import annotations

import os
from pathlib import Path

from megatron_sbp.base.errors import InputError


def go_offline() -> None:
    """Keeps all libraries of this process from contacting the hub, unless the user set HF_HUB_OFFLINE=0."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if offline():
        from huggingface_hub import constants

        # If already imported, it has read the variable; its HTTP client checks this before every request.
        constants.HF_HUB_OFFLINE = True


def offline() -> bool:
    """Whether the network is off limits: the default, unless HF_HUB_OFFLINE allows it."""
    return os.environ.get("HF_HUB_OFFLINE", "1").strip().upper() not in ("0", "OFF", "NO", "FALSE", "")


def cached(name: str) -> bool:
    """Whether the local cache has a snapshot of a model. Sends no request."""
    try:
        return any((_cache_of(name) / "snapshots").iterdir())
    except OSError:
        return False


def cached_snapshot(name: str) -> Path | None:
    """The local cache's folder for the main branch of a model, or None. Sends no request."""
    try:
        folder = _cache_of(name)
        snapshot = folder / "snapshots" / (folder / "refs" / "main").read_text().strip()
    except (OSError, ValueError):
        return None
    return snapshot if snapshot.is_dir() else None


def _cache_of(name: str) -> Path:
    from huggingface_hub import constants  # the package itself takes most of a second to import

    return Path(constants.HF_HUB_CACHE) / constants.REPO_ID_SEPARATOR.join(["models", *name.split("/")])


def check_available(name: str, key: str | None) -> None:
    """Raises InputError for a name that is not in the local cache if the network is not allowed.

    Args:
        name: name on the hub.
        key: its recipe key or option, for the message.
    """
    if offline() and not cached(name):
        raise InputError(
            f"'{name}' is neither a folder here nor in the local cache of the Hugging Face hub. Fetch it on a machine "
            f"with a network: `hf download {name}`, with the same HF_HOME as here; or allow the network: "
            "HF_HUB_OFFLINE=0",
            key=key,
        )
