"""The paper's figures on the page are those of docs/paper.md, with their marks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from megatron_sbp.report import paper

TEXT = (Path(__file__).parents[2] / "docs" / "paper.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TEXT.splitlines() if line.startswith("|")]


def row(label: str) -> list[str]:
    """The last row of docs/paper.md with this label: results come after the settings."""
    return [cells for cells in ROWS if cells[0] == label][-1]


@pytest.mark.parametrize("figures", paper.QA, ids=lambda figures: figures[0])
def test_accuracies(figures):
    scale, baseline, sbp, oracle, share = figures
    expected = [scale, f"{baseline:.2f}", f"+{sbp:.2f}", f"+{oracle:.2f}", f"{share:.0%} ({paper.MARK})"]
    assert row(scale) == [*expected[:4], expected[4].replace("%", " %")]
    assert share == pytest.approx(sbp / oracle, abs=0.01)


def test_qualities_in_the_same_order():
    first = next(place for place, cells in enumerate(ROWS) if cells[0] == "repetition")
    stated = [[float(cell) if cell else None for cell in cells[1:]] for cells in ROWS[first : first + 5]]
    assert stated == [list(figures[1:]) for figures in paper.QUALITY]
    assert f"in percent ({paper.MARK})" in TEXT


def test_similarities():
    random, related = re.search(r"of similarity ([\d.]+) to its\s+seed, against ([\d.]+) for SBP \(S\)", TEXT).groups()
    assert {"SBP": float(related), "tuned on random pairs": float(random)} == paper.SIMILARITY


def test_marks_are_explained_alike():
    stated = {cells[0] for cells in ROWS[2 : 2 + 6]}
    assert {part.split()[0] for part in paper.MARKS.rstrip(".").split("; ")} == stated
