"""Curves as inline SVG; colors and dashes come from classes in style.css."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from megatron_sbp.report.html import esc
from megatron_sbp.report.numbers import short, ticks

WIDTH, HEIGHT = 520, 320
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 12, 46


@dataclass(frozen=True)
class Curve:
    """One curve.

    Attributes:
        label: what a reader sees when pointing at it.
        kind: CSS class: baseline, sbp, oracle, synthesizer.
        points: (x, y) in order of x; those with y not finite are left out.
        marks: whether each point gets a dot.
    """

    label: str
    kind: str
    points: Sequence[tuple[float, float]]
    marks: bool = False


def line_chart(
    curves: Sequence[Curve],
    *,
    title: str,
    x_label: str,
    y_label: str,
    skip: float = 0.0,
    emphasis: tuple[float, float, str] | None = None,
    x_format: Callable[[float], str] = short,
) -> str:
    """Draws curves over one another.

    Args:
        curves: at least one with a point.
        title: read out instead of the picture.
        x_label: with its unit.
        y_label: with its unit.
        skip: the first part of the x range that does not count for the y range (the steep beginning of a training);
            curves leave the picture there.
        emphasis: a point to be ringed, and its label.
        x_format: how a tick is written.
    """
    curves = [
        Curve(c.label, c.kind, [(x, y) for x, y in c.points if math.isfinite(x) and math.isfinite(y)], c.marks)
        for c in curves
    ]
    xs = [x for curve in curves for x, _ in curve.points]
    x_low, x_high = min(0.0, *xs), max(xs)
    if x_high == x_low:
        x_high = x_low + 1
    ys = [y for curve in curves for x, y in curve.points if x >= x_low + skip * (x_high - x_low)]
    ys = ys or [y for curve in curves for _, y in curve.points]
    low, high = min(ys), max(ys)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - room, high + room

    def across(x: float) -> float:
        return LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def down(y: float) -> float:
        return TOP + (high - y) / (high - low) * (HEIGHT - TOP - BOTTOM)

    clip = f"clip-{abs(hash_of(title, y_label)) % 10**9}"
    parts = [
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{esc(title)}">',
        f'<defs><clipPath id="{clip}"><rect x="{LEFT - 4}" y="{TOP}" width="{WIDTH - LEFT - RIGHT + 8}" '
        f'height="{HEIGHT - TOP - BOTTOM}"/></clipPath></defs>',
        *axes(ticks(x_low, x_high), ticks(low, high), across, down, x_label, y_label, x_format),
        f'<g clip-path="url(#{clip})">',
    ]
    for curve in curves:
        path = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in curve.points)
        parts.append(
            f'<polyline class="curve {esc(curve.kind)}" points="{path}"><title>{esc(curve.label)}</title></polyline>'
        )
        if curve.marks:
            parts += [
                f'<circle class="dot {esc(curve.kind)}" cx="{across(x):.1f}" cy="{down(y):.1f}" r="2.6">'
                f"<title>{esc(curve.label)}: {y:.4f} at {esc(x_format(x))}</title></circle>"
                for x, y in curve.points
            ]
    if emphasis:
        x, y, label = emphasis
        middle = min(max(across(x), LEFT + 60), WIDTH - RIGHT - 60)
        beside = down(y) - 18 if down(y) > TOP + 40 else down(y) + 28
        parts.append(
            f'<circle class="ring" cx="{across(x):.1f}" cy="{down(y):.1f}" r="7"/>'
            f'<text class="strong" x="{middle:.1f}" y="{beside:.1f}" text-anchor="middle">'
            f"{esc(label)}</text>"
        )
    parts.append("</g></svg>")
    return "".join(parts)


def axes(
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    across: Callable[[float], float],
    down: Callable[[float], float],
    x_label: str,
    y_label: str,
    x_format: Callable[[float], str] = short,
    y_format: Callable[[float], str] = lambda value: f"{value:g}",
) -> list[str]:
    """Grid, tick labels and axis labels, as SVG elements."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value in y_ticks:
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{down(value):.1f}" y2="{down(value):.1f}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{down(value) + 4:.1f}" text-anchor="end">{esc(y_format(value))}</text>')
    for value in x_ticks:
        parts.append(
            f'<line class="axis" x1="{across(value):.1f}" x2="{across(value):.1f}" y1="{bottom}" y2="{bottom + 4}"/>'
        )
        parts.append(
            f'<text x="{across(value):.1f}" y="{bottom + 18}" text-anchor="middle">{esc(x_format(value))}</text>'
        )
    middle = (LEFT + right) / 2
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    parts.append(f'<text x="{middle:.0f}" y="{HEIGHT - 8}" text-anchor="middle">{esc(x_label)}</text>')
    up = (TOP + bottom) / 2
    parts.append(f'<text transform="translate(14 {up:.0f}) rotate(-90)" text-anchor="middle">{esc(y_label)}</text>')
    return parts


def hash_of(*words: str) -> int:
    """A number from words, the same in every process (unlike `hash`)."""
    value = 0
    for letter in "\n".join(words):
        value = (value * 131 + ord(letter)) % (2**61 - 1)
    return value
