"""A chart in its element: whatever its texts are, they stay texts, for HTML and for plotly."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.charts import chart_of, charts_of

import megatron_sbp.report
from megatron_sbp.report.bars import Part, bar_chart
from megatron_sbp.report.chart import chart, plot_text
from megatron_sbp.report.line_chart import Curve, line_chart

HOSTILE = '</script><!--\u2028"\'><b>bold</b><a href="javascript:alert(1)">&lt;i&gt; %{x} \x1b\u202e'


def test_a_hostile_text_stays_in_its_attribute():
    markup = line_chart([Curve(HOSTILE, "sbp", [(0, 1.0)])], title=HOSTILE, x_label=HOSTILE, y_label=HOSTILE)
    assert len(re.findall("[<>]", markup)) == 4  # those of the one element
    found = chart_of(markup)
    assert found.title.startswith("</script>") and r"\x1b\u202e" in found.title


def test_plotly_gets_no_markup_of_a_text():
    markup = line_chart([Curve(HOSTILE, "sbp", [(0, 1.0)])], title="t", x_label=HOSTILE, y_label=HOSTILE)
    markup += bar_chart(
        [HOSTILE], [Part(HOSTILE, HOSTILE, [1])], title="t", x_label=HOSTILE, notes=[HOSTILE],
        marks=(HOSTILE, [2]),
    )  # fmt: skip
    curves, bars = charts_of(markup)
    texts = [curves.data[0]["name"], bars.data[0]["name"], *bars.data[0]["y"]]
    texts += [
        bars.data[0]["hovertemplate"].removesuffix("<extra></extra>"),
        bars.data[1]["name"],
        *bars.data[2]["text"],
    ]
    axes = (curves.layout["xaxis"], curves.layout["yaxis"], bars.layout["xaxis"])
    texts += [axis["title"]["text"] for axis in axes]
    for text in texts:
        assert "&lt;b&gt;bold&lt;/b&gt;" in text and "<" not in text and "&amp;lt;i" in text and "\x1b" not in text
    # What plotly fills in for %{...} comes from our templates only.
    assert HOSTILE[-8:-3] not in curves.data[0]["hovertemplate"]
    assert plot_text("a & b") == "a &amp; b" and plot_text("naïve 5 %") == "naïve 5 %"


def test_a_number_that_is_none_is_no_chart():
    with pytest.raises(ValueError, match="JSON"):
        chart([{"type": "scatter", "y": [float("nan")]}], {}, title="t")


def test_every_color_is_one_of_the_style_in_light_and_dark():
    folder = Path(megatron_sbp.report.__file__).parent
    light, dark = re.findall(r":root \{(.*?)\}", (folder / "style.css").read_text(), re.DOTALL)
    named = set(re.findall(r"--([\w-]+):", light))
    assert named == set(re.findall(r"--([\w-]+):", dark))
    source = "".join(path.read_text() for path in folder.glob("*.py"))
    used = set(re.findall(r"var\(--([\w-]+)\)", source)) | set(re.findall(r'color\("([\w-]+)"\)', source))
    assert used and used <= named
    # No color is written out anywhere else.
    assert re.findall(r"#[0-9a-f]{3,6}\b|rgba?\(", source + (folder / "charts.js").read_text()) == []


def test_charts_of_a_page_differ_in_nothing_but_what_they_show():
    first, second = charts_of(chart([], {}, title="a") + chart([], {"height": 99}, title="b", height=50))
    assert first.layout["template"] == second.layout["template"] and second.layout["height"] == 99
