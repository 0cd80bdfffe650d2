"""Curves in one chart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.report.chart import chart, color, plot_text


@dataclass(frozen=True)
class Curve:
    """One curve.

    Attributes:
        label: its name in the legend, and where a reader points at it. Those of the same name are one entry.
        color: name of a color in style.css.
        points: (x, y) in order of x; those that are not finite are left out.
        marks: whether each point gets a dot.
        dash: how the line is dashed, as plotly writes it.
        replicate: of several that have the same label, and are drawn thinner; named where a reader points at it.
    """

    label: str
    color: str
    points: Sequence[tuple[float, float]]
    marks: bool = False
    dash: str = "solid"
    replicate: int | None = None


def line_chart(
    curves: Sequence[Curve],
    *,
    title: str,
    x_label: str,
    y_label: str,
    digits: int = 4,
    skip: float = 0.0,
    emphasis: tuple[float, float, str] | None = None,
) -> str:
    """Draws curves in one chart.

    Args:
        curves: at least one with a point.
        title: read out instead of the picture.
        x_label: with its unit.
        y_label: with its unit.
        digits: of y, after the point, where a reader points at a curve.
        skip: the first part of the x range that does not count for the y range (the steep beginning of a training run);
            curves leave the picture there, until a reader zooms out.
        emphasis: a point to be ringed, and its label.
    """
    curves = [replace(c, points=[p for p in c.points if all(map(math.isfinite, p))]) for c in curves]
    traces: list[JsonObject] = [
        {
            "type": "scatter",
            "mode": "lines+markers" if curve.marks else "lines",
            "name": plot_text(curve.label),
            "x": [x for x, _ in curve.points],
            "y": [y for _, y in curve.points],
            "line": {"color": color(curve.color), "dash": curve.dash, "width": 2 if curve.replicate is None else 1.2},
            "marker": {"color": color(curve.color), "size": 5 if curve.replicate is None else 3},
            "hovertemplate": f"%{{y:.{digits}f}} at %{{x:,}}",
            "cliponaxis": False,  # else a dot at x = 0 is half a dot
            **_of_replicate(curve, curve.label not in {other.label for other in curves[:place]}, digits),
        }
        for place, curve in enumerate(curves)
    ]
    if emphasis:
        x, y, label = emphasis
        marker = {"symbol": "circle-open", "size": 14, "color": color("ink"), "line": {"width": 2}}
        ring = {"mode": "markers", "name": plot_text(label), "x": [x], "y": [y], "marker": marker}
        traces.append({"type": "scatter", **ring, "hoverinfo": "name"})
    layout = {
        "xaxis": {"title": {"text": plot_text(x_label)}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": plot_text(y_label)}, **_range_after(skip, curves)},
        "hovermode": "closest",
        "hoverdistance": 50,
        "showlegend": True,
    }
    return chart(traces, layout, title=title)


def is_cut(curves: Sequence[Curve], skip: float) -> bool:
    """Whether `line_chart` with this `skip` leaves a point above the picture."""
    top = _range_after(skip, curves).get("range", [math.inf])[-1]
    return any(math.isfinite(y) and y > top for curve in curves for _, y in curve.points)


def _of_replicate(curve: Curve, first: bool, digits: int) -> JsonObject:
    """What differs in the trace of one of several replicates: a click on their entry hides all of them."""
    if curve.replicate is None:
        return {}
    name = plot_text(f"{curve.label}, replicate {curve.replicate}")
    told = f"%{{y:.{digits}f}} at %{{x:,}}<extra>{name}</extra>"
    return {"legendgroup": plot_text(curve.label), "showlegend": first, "hovertemplate": told}


def _range_after(skip: float, curves: Sequence[Curve]) -> JsonObject:
    """The y range of all points but those in the first part of x; nothing where all count, or none is left."""
    xs = [x for curve in curves for x, _ in curve.points]
    start = min(0.0, *xs) + skip * (max(xs) - min(0.0, *xs))
    ys = [y for curve in curves for x, y in curve.points if x >= start]
    if not skip or not ys:
        return {}
    room = 0.06 * (max(ys) - min(ys)) or 0.05 * abs(max(ys)) or 1.0
    return {"range": [min(ys) - room, max(ys) + room]}
