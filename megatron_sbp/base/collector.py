"""Python's cycle collector, rare while modules load and idle at the end: up to a third of a short process's time."""

from __future__ import annotations

import atexit
import gc

ALLOCATIONS = 100_000
"""New containers, less those freed, before the youngest generation is looked through; Python's own value is 700."""

_usual = gc.get_threshold()


def collect_rarely() -> None:
    """For processes of our own, before they import: torch, Megatron, and transformers make a million objects that stay.

    Memory that is not in a cycle is freed at once, as always. At its end such a process does not search these objects
    for cycles: Python would, several times, just before the system takes all of its memory.
    """
    gc.set_threshold(ALLOCATIONS, *_usual[1:])
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)


def collect_as_usual() -> None:
    """Collects as Python does, leaving out what exists by now: tensors in cycles must not wait, since they hold a GPU's
    memory."""
    gc.freeze()
    gc.set_threshold(*_usual)
