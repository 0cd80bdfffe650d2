"""Curves: data where it belongs, and no number that is not one."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree

import pytest

from megatron_sbp.report.line_chart import LEFT, RIGHT, WIDTH, Curve, hash_of, line_chart


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


def test_a_steep_beginning_leaves_the_picture():
    values = [(0, 100.0), (1, 3.0), (2, 2.0), (10, 1.0)]
    whole, cut = (
        points(line_chart([Curve("a", "sbp", values)], title="t", x_label="x", y_label="y", skip=skip))
        for skip in (0.0, 0.05)
    )
    assert whole[0][1] >= 0 > cut[0][1]  # above the picture, where the clip path hides it
    assert cut[1][1] < whole[1][1] - 100  # what is left has the room


def test_labels_are_escaped_and_dots_say_their_values():
    svg = line_chart([Curve("<a>", "sbp", [(1000, 2.5)], marks=True)], title="t", x_label="<x>", y_label="y&z")
    ElementTree.fromstring(svg)
    assert "&lt;a&gt;: 2.5000 at 1k" in svg and "&lt;x&gt;" in svg and "y&amp;z" in svg


def test_two_charts_of_a_page_do_not_share_a_clip_path():
    found = [re.findall('clipPath id="([^"]+)"', line_chart([Curve("a", "sbp", [(0, 1.0)])], title=title, x_label="x",
             y_label="y"))[0] for title in ("train", "valid")]  # fmt: skip
    assert found[0] != found[1]
    assert hash_of("a", "b") == hash_of("a", "b") != hash_of("ab")
