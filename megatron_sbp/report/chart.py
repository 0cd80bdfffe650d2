"""A chart as plotly describes it: data and layout, in an element that charts.js draws."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence

from megatron_sbp.base.untyped import JsonValue
from megatron_sbp.report.html import esc, printable

_AXIS = {
    "automargin": True,
    "gridcolor": "var(--grid)",
    "linecolor": "var(--soft)",
    "ticks": "outside",
    "ticklen": 4,
    "tickcolor": "var(--grid)",
    "zeroline": False,
    "exponentformat": "B",  # k, M, B, and T
    "title": {"standoff": 8},
}
_LOOK = {
    "font": {"size": 13, "color": "var(--soft)"},
    "paper_bgcolor": "var(--paper)",
    "plot_bgcolor": "var(--paper)",
    "minreducedwidth": 20,  # long labels beside bars on a narrow phone
    "margin": {"l": 8, "r": 12, "t": 26, "b": 8},  # axes and legends take what they need, the mode bar is at the top
    "xaxis": _AXIS,
    "yaxis": _AXIS,
    "legend": {
        "orientation": "h",
        "traceorder": "normal",
        "xref": "container",
        "yref": "container",
        "x": 0,
        "y": 0,
        "yanchor": "bottom",
        "maxheight": 2000,
    },
    "modebar": {"bgcolor": "var(--paper)", "color": "var(--soft)", "activecolor": "var(--ink)"},
    "hoverlabel": {
        "bgcolor": "var(--panel)",
        "bordercolor": "var(--soft)",
        "font": {"color": "var(--ink)"},
        "namelength": -1,
        "align": "left",
    },
}


def chart(
    traces: Sequence[Mapping[str, JsonValue]], layout: Mapping[str, JsonValue], *, title: str, height: int = 330
) -> str:
    """Markup of a chart.

    Args:
        traces: plotly's traces. Their texts have gone through `plot_text`, their colors through `color`.
        layout: plotly's layout, of which what all charts have in common may be left out.
        title: read out instead of the picture.
        height: in pixels; the legend comes on top of it.

    Raises:
        ValueError: a number is not finite.
    """
    # Zoom and hidden curves are the reader's: with the same uirevision they survive a change of width or color scheme.
    common = {"height": height, "template": {"layout": _LOOK}, "uirevision": 1}
    whole = {"data": traces, "layout": {**common, **layout}}
    told = json.dumps(whole, separators=(",", ":"), allow_nan=False)
    return f'<div class="plot" role="img" aria-label="{esc(title)}" data-chart="{esc(told)}"></div>'


def plot_text(text: object) -> str:
    """Text for a label of a chart: plotly reads tags and entities in it as markup."""
    return html.escape(printable(text), quote=False)


def color(name: str) -> str:
    """A color of style.css, which charts.js looks up for the light or the dark page."""
    return f"var(--{name})"
