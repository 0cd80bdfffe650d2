"""Formats numbers for people. None is an en dash: not measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

NOTHING = "–"

_NO_SPREAD = " Brackets: the exact 95 % interval where all have the same figure, which leaves no standard error."


def count(value: float | None) -> str:
    """1,234,567."""
    return NOTHING if value is None else f"{value:,.0f}"


def fixed(value: float | None, digits: int) -> str:
    """A number with this many digits after the point, and a real minus sign unless it rounds to zero."""
    if value is None:
        return NOTHING
    # Python writes -0.0000 for a tiny negative number.
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def with_error(value: float | None, error: float | None, digits: int) -> str:
    """4.3210 ± 0.0012; a line may break before the ±, not after it. From a million on, 2.28e+36 ± 1.37e+38: the
    perplexity of a model that never saw such text."""
    if value is None:
        return NOTHING
    if digits and max(abs(value), error or 0) >= 1e6:
        return f"{value:.3g}".replace("-", "−") + ("" if error is None else f" ±\u00a0{error:.3g}")
    return fixed(value, digits) + ("" if error is None else f" ±\u00a0{error:.{digits}f}")


def signed(value: float | None, error: float | None, digits: int) -> str:
    """+0.0120 ± 0.0012, with a real minus sign, and no sign if the number rounds to zero."""
    if value is None:
        return NOTHING
    rounded = round(value, digits)
    text = f"{rounded:+.{digits}f}".replace("-", "−") if rounded else f"{0:.{digits}f}"
    return text + ("" if error is None else f" ±\u00a0{error:.{digits}f}")


def percent(share: float | None, digits: int = 1) -> str:
    """0.123 as 12.3 %; zero is 0 %, and a share too small for the digits is < 0.1 %."""
    if share is None:
        return NOTHING
    rounded = round(100 * share, digits)
    if rounded:
        return f"{rounded:.{digits}f}\u00a0%".replace("-", "−")
    return "0\u00a0%" if share <= 0 else f"<\u00a0{10**-digits:.{digits}f}\u00a0%"


def percent_with_error(share: float | None, error: float | None, interval: Sequence[float | None] = ()) -> str:
    """56.2 % ± 2.1; a line may break before the ±, not after it.

    Where the standard error is 0 or None and there is an interval, low and high, it is 0 % [0 %, 52.2 %].
    """
    if share is not None and (error is None or error < 1e-9) and interval and None not in interval:
        return f"{percent(share)} [{', '.join(map(percent, interval))}]"
    return percent(share) + ("" if share is None or error is None else f" ±\u00a0{100 * error:.1f}")


def spread_note(cells: Iterable[str]) -> str:
    """What a caption says of the brackets of `percent_with_error`; empty where no cell has any."""
    return _NO_SPREAD if any("[" in cell for cell in cells) else ""
