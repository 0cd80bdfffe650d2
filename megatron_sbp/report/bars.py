"""Horizontal bars, plain or stacked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.report.chart import chart, color, plot_text

ROW = 32
"""Height of a row in pixels."""

_FEW = 3
"""Up to this value, ticks are whole numbers."""

_NOTHING = {"range": [0, 1], "tickvals": [0]}


@dataclass(frozen=True)
class Part:
    """One piece of every bar.

    Attributes:
        name: in the legend; none if the chart has only one part.
        what: what a value counts, in the plural.
        values: one of each bar.
        colors: names of colors in style.css: one, or one of each bar.
    """

    name: str
    what: str
    values: Sequence[float]
    colors: str | Sequence[str] = "fill"


def bar_chart(
    labels: Sequence[str],
    parts: Sequence[Part],
    *,
    title: str,
    x_label: str,
    notes: Sequence[str] = (),
    marks: tuple[str, Sequence[float]] | None = None,
) -> str:
    """Draws bars over a common axis that starts at 0.

    Args:
        labels: in front of the bars, from top to bottom, no two alike.
        parts: pieces of the bars, from left to right.
        title: read out instead of the picture.
        x_label: with its unit.
        notes: written after the bars.
        marks: what the vertical lines mean, such as the plan, and where they are.
    """
    rows = list(map(plot_text, labels))
    traces: list[JsonObject] = [
        {
            "type": "bar",
            "orientation": "h",
            "name": plot_text(part.name),
            "y": rows,
            "x": list(part.values),
            "width": 0.62,
            "marker": {"color": color(part.colors) if isinstance(part.colors, str) else list(map(color, part.colors))},
            "hovertemplate": f"%{{y}}: %{{x:,}} {plot_text(part.what)}<extra></extra>",
        }
        for part in parts
    ]
    ends = [sum(values) for values in zip(*(part.values for part in parts), strict=True)]
    if marks:
        ends = list(map(max, ends, marks[1]))
        name, values = marks
        upright = {"symbol": "line-ns", "size": ROW - 6, "line": {"width": 2, "color": color("ink")}}
        planned = {"name": plot_text(name), "mode": "markers", "marker": upright, "x": list(values), "y": rows}
        traces.append({"type": "scatter", **planned, "hovertemplate": "%{y}: %{x:,}"})
    if notes:
        behind = {"mode": "text", "text": [f"\u00a0{plot_text(note)}" for note in notes], "x": ends, "y": rows}
        quiet = {"cliponaxis": False, "hoverinfo": "skip", "showlegend": False}
        traces.append({"type": "scatter", **behind, "textposition": "middle right", **quiet})
    below = {"title": {"text": plot_text(x_label)}, "rangemode": "tozero", "nticks": 4}
    left = {"type": "category", "range": [len(rows) - 0.5, -0.5], "fixedrange": True}
    ticks: JsonObject = {"dtick": 1} if max(ends, default=0) <= _FEW else {}
    layout = {
        "barmode": "stack",
        "xaxis": {**below, **(ticks if any(ends) else _NOTHING)},
        "yaxis": {**left, "showgrid": False, "ticks": "", "ticklabelstandoff": 6},
        "margin": {"r": 14 + 8 * max(map(len, notes), default=0)},
        "hovermode": "closest",
        "showlegend": bool(marks) or len(parts) > 1,
    }
    return chart(traces, layout, title=title, height=ROW * len(rows) + 84)
