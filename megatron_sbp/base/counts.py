"""Counts by name as text."""

from __future__ import annotations

from collections.abc import Mapping


def named_counts(counts: Mapping[str, int]) -> str:
    """The counts that are not zero: `too_short 12, copying 1,204`."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)
