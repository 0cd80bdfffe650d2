"""Opinions of a judge become figures with intervals."""

from __future__ import annotations

import pytest

from megatron_sbp.evaluation.opinions import Case, Judge


class Said(Judge):
    """Says what it was told to."""

    def __init__(self, *said):
        self.said = said

    def about(self):
        return {}

    def opinions(self, cases, progress):
        return list(self.said)


def figures(*said):
    return Said(*said).figures([Case(None, "text", {}) for _ in said], 1, "judge")


def test_true_and_false_have_an_exact_interval():
    found = figures(*[{"factual": (float(wrong), 1.0)} for wrong in (1, 0, 0, 0)])["non_factual"]
    assert (found["value"], found["judged"]) == (0.25, 4)
    assert found["low"] == pytest.approx(0.0063, abs=1e-4) and found["high"] == pytest.approx(0.8059, abs=1e-4)


def test_parts_of_a_text_weigh_by_their_whole():
    found = figures({"factual": (1.0, 2.0)}, {"factual": (0.0, 6.0)})["non_factual"]
    assert found["value"] == pytest.approx(1 / 8) and found["low"] <= 1 / 8 <= found["high"]


def test_a_text_without_an_opinion_is_not_counted():
    found = figures({"factual": (1.0, 1.0)}, {"relevant": (0.0, 1.0)}, {})
    assert found["non_factual"]["judged"] == found["pair_irrelevance"]["judged"] == 1
    assert figures({})["non_factual"] == {"value": None, "low": None, "high": None, "judged": 0}
