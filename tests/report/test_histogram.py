"""The histogram of similarities: heights follow counts, on either axis."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from megatron_sbp.report.histogram import similarity_histogram


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


def test_the_band_is_what_can_be_kept():
    svg, _ = similarity_histogram([0.0, 0.5, 1.0], [5, 5], [0, 3], alpha=0.6, upper=0.9, title="t")
    band = re.search(r'class="band" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', svg)
    mark = re.search(r'class="mark" x1="([\d.]+)"', svg)
    assert band[1] == mark[1] and "α = 0.6" in svg
    wide = similarity_histogram([0.0, 0.5, 1.0], [5, 5], [0, 3], alpha=0.6, upper=1.0, title="t")[0]
    assert float(re.search(r'class="band".*?width="([\d.]+)"', wide)[1]) > float(band[2])


def test_no_candidate_above_alpha_still_shows_alpha():
    svg, _ = similarity_histogram(
        [0.0, 0.25, 0.5, 0.75, 1.0], [3, 0, 0, 0], [0, 0, 0, 0], alpha=0.75, upper=1, title="t"
    )
    assert "α = 0.75" in svg and "nan" not in svg and 'width="-' not in svg
