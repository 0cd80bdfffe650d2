"""Runs Python's cycle collector less often while modules load: it took up to a fifth of a process's startup time."""

from __future__ import annotations

import gc

ALLOCATIONS = 100_000
"""Allocations minus deallocations before a collection of the youngest generation; Python's default is 700."""

_usual = gc.get_threshold()


def collect_rarely() -> None:
    """Called before imports: torch, Megatron, and transformers create a million permanent objects.

    Memory that is not in a cycle is still freed at once.
    """
    gc.set_threshold(ALLOCATIONS, *_usual[1:])


def collect_as_usual() -> None:
    """Restores Python's default and freezes existing objects: tensors in cycles hold GPU memory and must be freed
    soon."""
    gc.freeze()
    gc.set_threshold(*_usual)
