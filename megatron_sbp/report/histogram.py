"""The histogram of similarities as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

from megatron_sbp.report.html import esc
from megatron_sbp.report.line_chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, axes
from megatron_sbp.report.numbers import short, ticks

# From this ratio of the tallest bars on, the smaller group would vanish on a linear axis.
_LOGARITHMIC = 30


def similarity_histogram(
    edges: Sequence[float],
    candidates: Sequence[int],
    kept: Sequence[int],
    *,
    alpha: float,
    upper: float,
    title: str,
) -> tuple[str, bool]:
    """Draws how many candidate pairs there are at each similarity, and how many of them were kept.

    Args:
        edges: borders of the bins, ascending: one more than bins.
        candidates: pairs per bin.
        kept: pairs per bin that passed all rules.
        alpha: lower end of the band in which pairs can be kept.
        upper: its upper end.
        title: read out instead of the picture.

    Returns:
        The SVG, and whether its vertical axis is logarithmic.
    """
    tallest = max([1, *candidates])
    logarithmic = tallest > _LOGARITHMIC * max([1, *kept]) or tallest > 5000
    used = [place for place, number in enumerate(candidates) if number] or [0, len(candidates) - 1]
    x_low = min(edges[used[0]], alpha)
    x_high = max(edges[used[-1] + 1], alpha)
    top = math.log10(tallest + 1) if logarithmic else float(tallest)

    def across(x: float) -> float:
        return LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def height(number: float) -> float:
        return math.log10(number + 1) if logarithmic else number

    def down(number: float) -> float:
        return TOP + 14 + (1 - height(number) / top) * (HEIGHT - TOP - BOTTOM - 14)

    y_ticks = [0.0, *(10.0**power for power in range(int(top) + 1))] if logarithmic else ticks(0, tallest)
    floor = HEIGHT - BOTTOM
    band = max(across(min(upper, x_high)) - across(alpha), 0.0)
    parts = [
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{esc(title)}">',
        f'<rect class="band" x="{across(alpha):.1f}" y="{TOP}" width="{band:.1f}" height="{floor - TOP}"/>',
        *axes(
            ticks(x_low, x_high, 6),
            y_ticks,
            across,
            down,
            "cosine similarity of the two documents",
            "pairs, logarithmic" if logarithmic else "pairs",
            lambda value: f"{value:.2f}".rstrip("0").rstrip("."),
            short,
        ),
    ]
    for kind, numbers in (("candidate", candidates), ("kept", kept)):
        for place, number in enumerate(numbers):
            left, right = across(edges[place]), across(edges[place + 1])
            if number and right > LEFT:
                parts.append(
                    f'<rect class="bar {kind}" x="{left + 0.4:.1f}" y="{down(number):.1f}" '
                    f'width="{max(right - left - 0.8, 0.6):.1f}" height="{floor - down(number):.1f}">'
                    f"<title>{edges[place]:.3f} to {edges[place + 1]:.3f}: {number:,} {esc(kind)}</title></rect>"
                )
    line = across(alpha)
    anchor, shift = ("end", -5) if line > WIDTH * 0.75 else ("start", 5)
    parts.append(
        f'<line class="mark" x1="{line:.1f}" x2="{line:.1f}" y1="{TOP}" y2="{floor}"/>'
        f'<text class="strong" x="{line + shift:.1f}" y="{TOP + 10}" text-anchor="{anchor}">α = {alpha:g}</text></svg>'
    )
    return "".join(parts), logarithmic
