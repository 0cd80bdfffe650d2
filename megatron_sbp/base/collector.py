"""Python's cycle collector, made rare while modules load: up to a fifth of a process's start was spent in it."""

from __future__ import annotations

import gc

ALLOCATIONS = 100_000
"""New containers, less those freed, before the youngest generation is looked through; Python's own value is 700."""

_usual = gc.get_threshold()


def collect_rarely() -> None:
    """For processes of our own, before they import: torch, Megatron, and transformers make a million objects that stay.

    Memory that is not in a cycle is freed at once, as always.
    """
    gc.set_threshold(ALLOCATIONS, *_usual[1:])


def collect_as_usual() -> None:
    """Collects as Python does, leaving out what exists by now: tensors in cycles must not wait, since they hold a GPU's
    memory."""
    gc.freeze()
    gc.set_threshold(*_usual)
