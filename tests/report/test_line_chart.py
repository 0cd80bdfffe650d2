"""Curves: data where it belongs, and no number that is not one."""

from __future__ import annotations

import math

import pytest
from support.charts import Chart, chart_of

from megatron_sbp.report.line_chart import Curve, is_cut, line_chart


def draw(values, **more) -> Chart:
    return chart_of(line_chart([Curve("a", "sbp", values, **more)], title="t <&>", x_label="x", y_label="y (nats)"))


def test_a_curve_has_its_points_label_color_and_dash():
    found = draw([(0, 3.0), (10, 2.0), (20, 1.0)], dash="7px,3px")
    (curve,) = found.data
    assert (curve["x"], curve["y"], curve["name"]) == ([0, 10, 20], [3.0, 2.0, 1.0], "a")
    assert curve["line"] == {"color": "var(--sbp)", "dash": "7px,3px", "width": 2}
    assert found.title == "t <&>" and found.layout["showlegend"]
    assert [found.layout[axis]["title"]["text"] for axis in ("xaxis", "yaxis")] == ["x", "y (nats)"]


def test_only_marked_curves_have_dots_and_each_says_its_value():
    assert draw([(0, 1.0)]).data[0]["mode"] == "lines"
    marked = draw([(1000, 2.5)], marks=True).data[0]
    assert marked["mode"] == "lines+markers" and marked["hovertemplate"] == "%{y:.4f} at %{x:,}"
    assert marked["cliponaxis"] is False  # a dot at x = 0 is whole
    assert "<extra>" not in marked["hovertemplate"]  # where plotly says the curve's name


def test_values_that_are_no_numbers_are_left_out():
    (curve,) = draw([(0, 3.0), (1, math.nan), (2, math.inf), (3, 2.0)]).data
    assert (curve["x"], curve["y"]) == ([0, 3], [3.0, 2.0])


@pytest.mark.parametrize("values", [[(0, 1.0)], [(5, 2.0)], [(0, 0.0), (1, 0.0)]])
@pytest.mark.parametrize("skip", [0.0, 0.08])
def test_one_point_and_a_flat_curve_can_be_drawn(values, skip):
    curves = [Curve("a", "sbp", values)]
    found = chart_of(line_chart(curves, title="t", x_label="x", y_label="y", skip=skip))
    low, high = found.layout["yaxis"].get("range", (0, 1))
    assert low < high


def test_a_steep_beginning_leaves_the_picture_until_a_reader_zooms_out():
    curves = [Curve("a", "sbp", [(0, 100.0), (1, 3.0), (2, 2.0), (10, 1.0)])]
    whole, cut = (chart_of(line_chart(curves, title="t", x_label="x", y_label="y", skip=skip)) for skip in (0.0, 0.05))
    assert "range" not in whole.layout["yaxis"] and whole.data == cut.data  # the points are there
    assert cut.layout["yaxis"]["range"] == pytest.approx([0.88, 3.12])
    assert is_cut(curves, 0.05) and not is_cut(curves, 0.0)
    assert not is_cut([Curve("a", "sbp", [(1, 3.0), (2, 2.0), (10, 1.0)])], 0.05)


def test_the_ring_stands_at_its_point_with_its_label():
    curves = [Curve("a", "sbp", [(0, 2.0), (1, 1.0)])]
    found = chart_of(line_chart(curves, title="t", x_label="x", y_label="y", emphasis=(1, 1.0, "chosen: 1.0000")))
    ring = found.trace("chosen: 1.0000")
    assert (ring["x"], ring["y"], ring["marker"]["symbol"]) == ([1], [1.0], "circle-open")
