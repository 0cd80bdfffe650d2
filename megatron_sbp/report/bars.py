"""Horizontal bars, plain or stacked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from megatron_sbp.report.chart import chart, color, plot_text

ROW = 32
"""Height of a row in pixels."""

_NOTHING = {"range": [0, 1], "tickvals": [0]}


@dataclass(frozen=True)
class Part:
    """What all bars have in common: of each bar one piece.

    Attributes:
        name: in the legend; none where the chart has one part only.
        colors: names of colors in style.css, one of each bar.
        values: one of each bar.
        told: of each bar, where a reader points at it.
    """

    name: str
    colors: Sequence[str]
    values: Sequence[float]
    told: Sequence[str]


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
        notes: written behind the bars.
        marks: what the upright lines stand for, such as the plan, and where they are.
    """
    rows = list(map(plot_text, labels))
    traces: list[dict[str, Any]] = [
        {
            "type": "bar",
            "orientation": "h",
            "name": plot_text(part.name),
            "y": rows,
            "x": list(part.values),
            "width": 0.62,
            "marker": {"color": list(map(color, part.colors))},
            "hovertext": [f"{row}: {plot_text(told)}" for row, told in zip(rows, part.told, strict=True)],
            "hoverinfo": "text",
        }
        for part in parts
    ]
    ends = [sum(values) for values in zip(*(part.values for part in parts), strict=True)]
    if marks:
        ends = list(map(max, ends, marks[1]))
        name, values = plot_text(marks[0]), list(marks[1])
        upright = {"symbol": "line-ns", "size": ROW - 6, "line": {"width": 2, "color": color("ink")}}
        told = [f"{row}: {name} {value:,.0f}" for row, value in zip(rows, values, strict=True)]
        traces.append(
            {"type": "scatter", "mode": "markers", "name": name, "y": rows, "x": values, "marker": upright,
             "hovertext": told, "hoverinfo": "text"}
        )  # fmt: skip
    if notes:
        texts = [f"\u00a0{plot_text(note)}" for note in notes]
        traces.append(
            {
                "type": "scatter",
                "mode": "text",
                "x": ends,
                "y": rows,
                "text": texts,
                "textposition": "middle right",
                "cliponaxis": False,
                "hoverinfo": "skip",
                "showlegend": False,
            }
        )
    layout = {
        "barmode": "stack",
        "xaxis": {
            "title": {"text": plot_text(x_label)},
            "rangemode": "tozero",
            "nticks": 4,
            "tickangle": 0,
            **({} if any(ends) else _NOTHING),
        },
        "yaxis": {
            "type": "category",
            "range": [len(rows) - 0.5, -0.5],
            "showgrid": False,
            "ticks": "",
            "ticklabelstandoff": 6,
            "fixedrange": True,
        },
        "margin": {"r": 14 + 8 * max(map(len, notes), default=0)},
        "hovermode": "closest",
        "showlegend": bool(marks) or len(parts) > 1,
    }
    return chart(traces, layout, title=title, height=ROW * len(rows) + 84)
