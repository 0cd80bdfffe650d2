"""The histogram of similarities."""

from __future__ import annotations

import math
from collections.abc import Sequence

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.report.chart import chart, color, plot_text

# From this ratio of the tallest bars on, the smaller group would be invisible on a linear axis.
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
        The markup, and whether its vertical axis is logarithmic.
    """
    tallest = max([1, *candidates])
    logarithmic = tallest > _LOGARITHMIC * max([1, *kept]) or tallest > 5000
    used = [place for place, number in enumerate(candidates) if number] or [0, len(candidates) - 1]
    low, high = min(edges[used[0]], alpha), max(edges[used[-1] + 1], alpha)

    def bars(name: str, of: str, numbers: Sequence[int]) -> JsonObject:
        spans = [(edges[place], edges[place + 1]) for place, number in enumerate(numbers) if number]
        return {
            "type": "bar",
            "name": name,
            "x": [(left + right) / 2 for left, right in spans],
            "y": [number for number in numbers if number],
            "width": [right - left for left, right in spans],
            "marker": {"color": color(of), "line": {"color": color("paper"), "width": 0.5}},
            "customdata": spans,
            "hovertemplate": "%{customdata[0]:.3f} to %{customdata[1]:.3f}: %{y:,}",
        }

    upright = {"yref": "paper", "y0": 0, "y1": 1, "x0": alpha}
    band = {"type": "rect", "x1": max(min(upper, high), alpha), "fillcolor": color("band"), "line": {"width": 0}}
    named = {"name": "band in which pairs can be kept", "showlegend": True, "layer": "below"}
    line = {"type": "line", "x1": alpha, "line": {"color": color("ink")}}
    at_right = alpha > low + 0.75 * (high - low)
    told = {"text": plot_text(f"α = {alpha:g}"), "font": {"color": color("ink")}, "showarrow": False}
    place = {"x": alpha, "y": 1, "yref": "paper", "yanchor": "bottom", "xanchor": "right" if at_right else "left"}
    scale = {"type": "log", "range": [math.log10(0.5), math.log10(2 * tallest)], "dtick": 1} if logarithmic else {}
    layout = {
        "xaxis": {"title": {"text": "cosine similarity of the pair"}, "range": [low, high]},
        "yaxis": {"title": {"text": "pairs, logarithmic" if logarithmic else "pairs"}, **scale},
        "margin": {"t": 44},  # alpha is below the mode bar
        "barmode": "overlay",
        "hovermode": "closest",
        "showlegend": True,
        "shapes": [{**upright, **band, **named}, {**upright, **line}],
        "annotations": [{**told, **place}],
    }
    traces = [bars("candidates", "fill", candidates), bars("kept", "synthesizer", kept)]
    return chart(traces, layout, title=title), logarithmic
