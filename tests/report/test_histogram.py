"""The histogram of similarities: bars are counts, on either axis."""

from __future__ import annotations

import pytest
from support.charts import chart_of

from megatron_sbp.report.histogram import similarity_histogram


def draw(*counts, alpha=0.5, upper=1.0):
    markup, logarithmic = similarity_histogram(*counts, alpha=alpha, upper=upper, title="t")
    return chart_of(markup), logarithmic


def test_bars_are_counts_over_their_bins():
    found, logarithmic = draw([0.0, 0.25, 0.5, 0.75, 1.0], [4, 8, 4, 0], [0, 0, 2, 0])
    assert not logarithmic and "type" not in found.layout["yaxis"] and found.layout["barmode"] == "overlay"
    candidates, kept = found.trace("candidates"), found.trace("kept")
    assert (candidates["x"], candidates["y"]) == ([0.125, 0.375, 0.625], [4, 8, 4])
    assert candidates["width"] == [0.25] * 3
    assert (kept["x"], kept["y"], kept["customdata"]) == ([0.625], [2], [[0.5, 0.75]])
    assert kept["hovertemplate"] == "%{customdata[0]:.3f} to %{customdata[1]:.3f}: %{y:,}"
    assert found.layout["xaxis"]["range"] == [0.0, 0.75] and found.layout["yaxis"]["title"]["text"] == "pairs"


def test_it_turns_logarithmic_when_the_kept_would_vanish():
    found, logarithmic = draw([0.0, 0.5, 1.0], [100_000, 10], [0, 5])
    axis = found.layout["yaxis"]
    assert logarithmic and axis["type"] == "log" and axis["title"]["text"] == "pairs, logarithmic"
    assert axis["range"] == pytest.approx([-0.30, 5.30], abs=0.01)  # a single pair is seen too


def test_no_candidate_at_all():
    found, _ = draw([0.0, 0.5, 1.0], [0, 0], [0, 0])
    assert [trace["y"] for trace in found.data] == [[], []] and found.layout["xaxis"]["range"] == [0.0, 1.0]


def test_the_band_is_what_can_be_kept():
    found, _ = draw([0.0, 0.5, 1.0], [5, 5], [0, 3], alpha=0.6, upper=0.9)
    band, line = found.layout["shapes"]
    assert (band["x0"], band["x1"], band["name"]) == (0.6, 0.9, "band in which pairs can be kept")
    assert band["showlegend"] and line["x0"] == line["x1"] == 0.6
    assert [told["text"] for told in found.layout["annotations"]] == ["α = 0.6"]
    assert draw([0.0, 0.5, 1.0], [5, 5], [0, 3], alpha=0.6)[0].layout["shapes"][0]["x1"] == 1.0


def test_no_candidate_above_alpha_still_shows_alpha():
    found, _ = draw([0.0, 0.25, 0.5, 0.75, 1.0], [3, 0, 0, 0], [0, 0, 0, 0], alpha=0.75)
    band, line = found.layout["shapes"]
    assert line["x0"] == 0.75 == found.layout["xaxis"]["range"][1] and band["x0"] == band["x1"]
    assert found.layout["annotations"][0]["xanchor"] == "right"  # at the right border it goes to the left
