"""Plots: data where it belongs, and no number that is not one."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree

import pytest

from megatron_sbp.report.bars import Bar, bar_chart
from megatron_sbp.report.histogram import similarity_histogram
from megatron_sbp.report.line_chart import LEFT, RIGHT, WIDTH, Curve, line_chart
from megatron_sbp.report.numbers import percent, short, ticks


def points(svg: str) -> list[tuple[float, float]]:
    line = next(element for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("polyline"))
    return [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]


def draw(values):
    return line_chart([Curve("a", "sbp", values)], title="t <&>", x_label="x", y_label="y")


def test_curve_spans_the_picture_and_larger_is_higher():
    drawn = points(draw([(0, 3.0), (10, 2.0), (20, 1.0)]))
    assert drawn[0][0] == LEFT and drawn[-1][0] == WIDTH - RIGHT
    assert drawn[0][1] < drawn[1][1] < drawn[2][1]  # y grows downwards
    assert drawn[1][1] == pytest.approx((drawn[0][1] + drawn[2][1]) / 2, abs=0.1)


def test_values_that_are_no_numbers_are_left_out():
    svg = draw([(0, 3.0), (1, math.nan), (2, math.inf), (3, 2.0)])
    assert len(points(svg)) == 2
    assert "nan" not in svg and "inf" not in svg


def test_one_point_and_a_flat_curve_can_be_drawn():
    for values in ([(0, 1.0)], [(5, 2.0)], [(0, 0.0), (1, 0.0)]):
        assert "nan" not in draw(values)


def test_histogram_heights_follow_counts():
    svg, logarithmic = similarity_histogram(
        [0.0, 0.25, 0.5, 0.75, 1.0], [4, 8, 4, 0], [0, 0, 2, 0], alpha=0.5, upper=1.0, title="t"
    )
    assert not logarithmic
    bars = re.findall(r'class="bar (\w+)".*?height="([\d.]+)"', svg)
    heights = [(kind, float(height)) for kind, height in bars]
    assert [kind for kind, _ in heights] == ["candidate"] * 3 + ["kept"]
    assert heights[1][1] == pytest.approx(2 * heights[0][1], abs=0.2)
    assert heights[3][1] == pytest.approx(heights[0][1] / 2, abs=0.2)
    ElementTree.fromstring(svg)


def test_histogram_turns_logarithmic_when_the_kept_would_vanish_and_survives_emptiness():
    edges = [0.0, 0.5, 1.0]
    assert similarity_histogram(edges, [100_000, 10], [0, 5], alpha=0.5, upper=1.0, title="t")[1]
    svg, _ = similarity_histogram(edges, [0, 0], [0, 0], alpha=0.5, upper=1.0, title="t")
    assert "nan" not in svg


def test_bars_are_proportional():
    svg = bar_chart(
        [Bar("a", [("", 10, "x"), ("again", 30, "y")]), Bar("b", [("", 20, "z")])], title="t", x_label="x", value=short
    )
    widths = [float(width) for width in re.findall(r'class="bar[^"]*".*?width="([\d.]+)"', svg)]
    assert widths == pytest.approx([widths[0], 3 * widths[0], 2 * widths[0]], abs=0.2)
    assert "nan" not in bar_chart([Bar("a", [("", 0, "nothing")], "0")], title="t", x_label="x", value=short)


def test_numbers():
    assert ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert ticks(2.95, 3.45) == [3.0, 3.1, 3.2, 3.3, 3.4]
    assert ticks(1, 1) == [1]
    assert [short(value) for value in (1234567, 2e12, 1500, 12)] == ["1.23M", "2T", "1.5k", "12"]
    assert percent(0.1234) == "12.3\u00a0%" and percent(None) == "–"
