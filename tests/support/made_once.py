"""What several test processes read and one of them makes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from megatron_sbp.base.locks import locked


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that `make` fills in whichever process asks first; the others wait. Read only."""
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, done = shared / name, shared / f"{name}.made"
    with locked(shared / f"{name}.lock", name):
        if not done.exists():
            folder.mkdir()
            make(folder)
            done.touch()
    return folder
