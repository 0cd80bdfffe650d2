"""What the page says about a judge, by its answers about cases whose truth is known."""

from __future__ import annotations

import pytest

from megatron_sbp.evaluation.agreement import SHIPPED, agreement, read_known
from megatron_sbp.evaluation.opinions import Judge
from megatron_sbp.report.judge_reading import agreement_sentence, agrees_poorly


class Saying(Judge):
    """Answers every case by a function of its truth: `{"factual": True}`."""

    def __init__(self, says):
        self.says = says

    def about(self):
        return {}

    def opinions(self, cases, progress):
        truth = {one.case.text: one.truth for one in read_known(SHIPPED)}
        said = [self.says(place, truth[case.text]) for place, case in enumerate(cases)]
        return [{name: (float(not yes), 1.0) for name, yes in one.items() if yes is not None} for one in said]


def told_of(says, malformed: int = 0) -> dict:
    """`judge` of quality.json."""
    known = read_known(SHIPPED)
    return {"agreement": {"cases": len(known), "malformed": malformed, **agreement(Saying(says), known)}}


def test_a_judge_that_is_right_is_not_warned_of():
    judge = told_of(lambda place, truth: truth)
    told = agreement_sentence(judge).replace("\xa0", " ")
    assert told == (
        "The judge's right answers about 60 cases whose truth is known: factuality 40 of 40 (100.0 %, 95 % interval "
        "91.2 % to 100.0 %; kappa 1.00, 0.82 to 1.00); relevance to the seed 60 of 60 (100.0 %, 95 % interval 94.0 % "
        "to 100.0 %; kappa 1.00, 0.87 to 1.00); no malformed answer."
    )
    assert agrees_poorly(judge) == []


@pytest.mark.parametrize(
    ("says", "poor", "told"),
    [
        (lambda place, truth: {"factual": True, "relevant": truth["relevant"]}, ["factual"], "factuality 20 of 40"),
        (
            lambda place, truth: {"factual": truth["factual"], "relevant": truth["relevant"] if place < 20 else None},
            ["relevant"],
            "no opinion about 40",
        ),
        (lambda place, truth: {"factual": None, "relevant": True}, ["factual", "relevant"], "none of 40 (no opinion)"),
        (lambda place, truth: {"factual": True if truth["factual"] else None, "relevant": truth["relevant"]},
         ["factual"], "20 of 20"),
    ],
    ids=["always yes", "seldom decides", "never decides", "decides one kind only"],
)  # fmt: skip
def test_poor_agreement_is_called_that(says, poor, told):
    judge = told_of(says, malformed=3)
    sentence = agreement_sentence(judge)
    assert agrees_poorly(judge) == poor and told in sentence and "; 3 malformed answers." in sentence
    names = {"factual": "factuality", "relevant": "relevance to the seed"}
    assert f"poor agreement about {' and '.join(names[name] for name in poor)} (kappa below 0.6)" in sentence


@pytest.mark.parametrize("judge", [None, {}, {"model": "m"}])
def test_what_was_not_measured_is_not_told(judge):
    assert agreement_sentence(judge) is None and agrees_poorly(judge) == []
