"""Horizontal bars, plain or stacked, as inline SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from megatron_sbp.report.html import esc
from megatron_sbp.report.numbers import ticks

WIDTH = 520
ROW, BAR = 34, 20


@dataclass(frozen=True)
class Bar:
    """One row.

    Attributes:
        label: in front of the bar.
        parts: (CSS class, value, what it is) from left to right.
        note: behind the bar.
        mark: a value to be marked by a line, such as the plan.
    """

    label: str
    parts: Sequence[tuple[str, float, str]]
    note: str = ""
    mark: float | None = None


def bar_chart(
    bars: Sequence[Bar], *, title: str, x_label: str, value: Callable[[float], str], label_width: int = 120
) -> str:
    """Draws bars over a common axis that starts at 0.

    Args:
        bars: from top to bottom.
        title: read out instead of the picture.
        x_label: with its unit.
        value: how a value on the axis is written.
        label_width: room for the labels, of 520.
    """
    totals = [sum(part[1] for part in bar.parts) for bar in bars]
    longest = max([*totals, *(bar.mark or 0 for bar in bars), 1e-12])
    notes = any(bar.note for bar in bars)
    room = WIDTH - label_width - (74 if notes else 14)
    floor = 6 + ROW * len(bars)
    parts = [f'<svg class="plot" viewBox="0 0 {WIDTH} {floor + 42}" role="img" aria-label="{esc(title)}">']
    for tick in ticks(0, longest, 4) if longest > 1e-9 else [0.0]:
        x = label_width + tick / longest * room
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="{floor}"/>')
        parts.append(f'<text x="{x:.1f}" y="{floor + 16}" text-anchor="middle">{esc(value(tick))}</text>')
    for place, bar in enumerate(bars):
        top = 6 + ROW * place + (ROW - BAR) / 2
        parts.append(
            f'<text x="{label_width - 8}" y="{top + BAR / 2 + 4.5:.1f}" text-anchor="end">{esc(bar.label)}</text>'
        )
        x = float(label_width)
        for kind, amount, what in bar.parts:
            width = amount / longest * room
            if width > 0:
                parts.append(
                    f'<rect class="bar {esc(kind)}" x="{x:.1f}" y="{top:.1f}" width="{max(width, 1):.1f}" '
                    f'height="{BAR}"><title>{esc(bar.label)}: {esc(what)}</title></rect>'
                )
            x += width
        if bar.mark is not None:
            at = label_width + bar.mark / longest * room
            parts.append(
                f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{top - 4:.1f}" y2="{top + BAR + 4:.1f}"/>'
            )
        if bar.note:
            parts.append(f'<text x="{x + 6:.1f}" y="{top + BAR / 2 + 4.5:.1f}">{esc(bar.note)}</text>')
    parts.append(f'<line class="axis" x1="{label_width}" x2="{label_width}" y1="2" y2="{floor}"/>')
    middle = label_width + room / 2
    parts.append(f'<text x="{middle:.0f}" y="{floor + 36}" text-anchor="middle">{esc(x_label)}</text></svg>')
    return "".join(parts)
