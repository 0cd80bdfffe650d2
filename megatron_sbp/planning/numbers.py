"""Numbers of the plan as text."""

from __future__ import annotations


def format_count(value: float) -> str:
    """A number with a suffix: 1.5M."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}"


def format_bytes(value: float) -> str:
    """Bytes with a decimal unit: 1.5 MB."""
    for size, unit in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= 0.9995 * size:  # .3g makes 1e+03 of 999.5 of the next smaller unit
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"


def format_hours(value: float) -> str:
    """Hours, whole ones where there are many: 2,582."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
