"""Processes that do not outlive the one that started them."""

from __future__ import annotations

import contextlib
import ctypes
import signal


def die_with_parent() -> None:
    """Asks Linux to kill this process when its parent dies, even by SIGKILL. Runs in the child.

    Without it, what a killed run had started would go on writing beside a new run.
    """
    with contextlib.suppress(OSError, AttributeError):  # other systems have no prctl
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
