"""The charts of a piece of the page, as plotly gets them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

import plotly.graph_objects


@dataclass(frozen=True)
class Chart:
    """One chart."""

    title: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]

    def trace(self, name: str) -> dict[str, Any]:
        """The trace of that name."""
        (found,) = [trace for trace in self.data if trace.get("name") == name]
        return found

    @property
    def names(self) -> list[str]:
        """Names of all traces."""
        return [trace.get("name", "") for trace in self.data]


class _Charts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Chart] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if "data-chart" in given:
            assert given["role"] == "img" and given["aria-label"]
            self.found.append(Chart(given["aria-label"], **json.loads(given["data-chart"])))


def charts_of(markup: str) -> list[Chart]:
    """All charts in their order; asserts that plotly knows every key and value."""
    parser = _Charts()
    parser.feed(markup)
    parser.close()
    for chart in parser.found:
        whole = json.dumps({"data": chart.data, "layout": chart.layout})
        plotly.graph_objects.Figure(json.loads(re.sub(r"var\(--[\w-]+\)", "red", whole)))
    return parser.found


def chart_of(markup: str) -> Chart:
    """The only chart."""
    (found,) = charts_of(markup)
    return found
