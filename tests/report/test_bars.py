"""Bars: lengths are values, marks and notes are where they belong."""

from __future__ import annotations

import pytest
from support.charts import chart_of

from megatron_sbp.report.bars import Part, bar_chart

FIRST = Part("first", "unique tokens", [10, 20], ["baseline", "oracle"])
AGAIN = Part("again", "tokens read again", [30, 0], "again")


def test_parts_are_stacked_and_say_what_they_are():
    found = chart_of(bar_chart(["a", "b"], [FIRST, AGAIN], title="t", x_label="tokens"))
    assert found.layout["barmode"] == "stack" and found.layout["showlegend"] and found.names == ["first", "again"]
    first = found.trace("first")
    assert (first["y"], first["x"]) == (["a", "b"], [10, 20])
    assert first["marker"]["color"] == ["var(--baseline)", "var(--oracle)"]
    assert first["hovertemplate"] == "%{y}: %{x:,} unique tokens<extra></extra>"
    assert found.trace("again")["marker"]["color"] == "var(--again)"
    low, high = found.layout["yaxis"]["range"]
    assert low > high  # from top to bottom
    assert found.layout["xaxis"]["title"]["text"] == "tokens" and found.layout["xaxis"]["rangemode"] == "tozero"


def test_more_bars_make_a_higher_chart():
    one, two = (
        chart_of(bar_chart(labels, [Part("", "x", [1] * len(labels))], title="t", x_label="x"))
        for labels in (["a"], ["a", "b"])
    )
    assert two.layout["height"] > one.layout["height"] and not one.layout["showlegend"]


def test_notes_stand_behind_the_bar_or_the_plan_that_is_longer():
    found = chart_of(
        bar_chart(
            ["a", "b"], [FIRST, AGAIN], title="t", x_label="x", notes=["one", "2 ep."], marks=("planned", [35, 50])
        )
    )
    planned = found.trace("planned")
    assert planned["x"] == [35, 50] and planned["marker"]["symbol"] == "line-ns"
    assert planned["hovertemplate"] == "%{y}: %{x:,}" and "showlegend" not in planned
    notes = found.data[-1]
    assert (notes["x"], notes["y"]) == ([40, 50], ["a", "b"])
    assert [text.strip() for text in notes["text"]] == ["one", "2 ep."] and not notes["showlegend"]


def test_labels_that_look_like_numbers_are_labels():
    found = chart_of(bar_chart(["1", "2026-01-01"], [FIRST], title="t", x_label="x"))
    assert found.layout["yaxis"]["type"] == "category"


@pytest.mark.parametrize(("most", "step"), [(1, 1), (3, 1), (4, None)])
def test_few_things_are_not_counted_in_halves(most, step):
    found = chart_of(bar_chart(["a"], [Part("", "x", [most])], title="t", x_label="x"))
    assert found.layout["xaxis"].get("dtick") == step


def test_no_bars_and_empty_bars_can_be_drawn():
    assert chart_of(bar_chart([], [Part("", "x", [])], title="t", x_label="x")).layout["xaxis"]["tickvals"] == [0]
    found = chart_of(bar_chart(["a"], [Part("", "x", [0])], title="t", x_label="x", notes=["0"]))
    assert found.data[-1]["text"] == ["\u00a00"] and found.layout["xaxis"]["tickvals"] == [0]
