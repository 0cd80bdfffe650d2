"""Processes of our own: they find the package, and do not outlive the one that started them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from pathlib import Path


def python_path() -> str:
    """PYTHONPATH for a process that must import this very package, installed or not."""
    package = str(Path(__file__).resolve().parents[1])
    return os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))


def die_with_parent() -> None:
    """Asks Linux to kill this process when its parent dies, even by SIGKILL. Runs in the child.

    Without it, what a killed run had started would go on writing beside a new run.
    """
    with contextlib.suppress(OSError, AttributeError):  # other systems have no prctl
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
