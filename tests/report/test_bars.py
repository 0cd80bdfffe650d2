"""Bars: lengths follow values, marks and notes are where they belong."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from megatron_sbp.report.bars import WIDTH, Bar, bar_chart
from megatron_sbp.report.numbers import short


def test_bars_are_proportional():
    svg = bar_chart(
        [Bar("a", [("", 10, "x"), ("again", 30, "y")]), Bar("b", [("", 20, "z")])], title="t", x_label="x", value=short
    )
    widths = [float(width) for width in re.findall(r'class="bar[^"]*".*?width="([\d.]+)"', svg)]
    assert widths == pytest.approx([widths[0], 3 * widths[0], 2 * widths[0]], abs=0.2)
    assert "nan" not in bar_chart([Bar("a", [("", 0, "nothing")], "0")], title="t", x_label="x", value=short)


def test_a_plan_longer_than_the_bar_fits_the_picture():
    svg = bar_chart([Bar("a", [("", 10, "x")], note="half", mark=20)], title="t", x_label="x", value=short)
    at = float(re.search(r'class="mark" x1="([\d.]+)"', svg)[1])
    bar = float(re.search(r'class="bar ".*?width="([\d.]+)"', svg)[1])
    assert at < WIDTH and at - 120 == pytest.approx(2 * bar, abs=0.2)


def test_no_bars_and_hostile_labels_make_valid_svg():
    ElementTree.fromstring(bar_chart([], title="t", x_label="x", value=short))
    bars = [Bar("<b>", [("", 1, '"&')], note="<i>")]
    assert "<b>" not in bar_chart(bars, title="<t>", x_label="<x>", value=short)
    ElementTree.fromstring(bar_chart(bars, title="<t>", x_label="<x>", value=short))
