"""The headline is one of three, and no two sentences of the verdict begin alike."""

from __future__ import annotations

import pytest
from support.verdict_results import results

from megatron_sbp.report.arm_sentences import NOISE
from megatron_sbp.report.verdict import headline, verdict


@pytest.mark.parametrize(
    ("sbp", "told"),
    [
        (3.0, "SBP is ahead of the repetition baseline in test loss, at equal training tokens."),
        (5.0, "SBP lost to the repetition baseline in test loss, at equal training tokens."),
        (
            4.0 - 0.009 * NOISE,
            "SBP cannot be told apart from the repetition baseline in test loss, at equal training tokens.",
        ),
    ],
)
def test_the_headline_is_one_of_three(sbp, told):
    assert headline(results({"baseline": 4.0, "sbp": sbp})) == told


def test_recall_comes_first_and_both_figures_may_disagree():
    found = headline(results({"baseline": 4.0, "sbp": 5.0}, {"baseline": 0.2, "sbp": 0.6}))
    assert found.startswith("SBP is ahead of the repetition baseline in closed-book recall; SBP lost to")


def test_a_loss_to_one_control_is_not_hidden_by_wins_over_others():
    found = headline(results({"baseline": 4.0, "noise": 2.0, "self": 4.0, "sbp": 3.0}))
    assert found == "SBP lost to the arm noise in test loss, at equal training tokens."


def test_no_headline_without_sbp_or_without_evaluations():
    assert "nothing to say" in headline(results({"baseline": 4.0, "oracle": 3.0}))
    missing = results({"baseline": 4.0, "sbp": 3.0})
    missing["comparisons"]["sbp-baseline"]["test_loss"] = None
    assert "have not been evaluated" in headline(missing)


@pytest.mark.parametrize("controls", [("noise",), ("noise", "self"), ("noise", "self", "a", "b")])
@pytest.mark.parametrize("sbp", [3.0, 4.0, 5.0])
@pytest.mark.parametrize("evaluated", [True, False])
def test_no_two_sentences_begin_alike(controls, sbp, evaluated):
    losses = {"baseline": 4.0, "sbp": sbp, "oracle": 2.0, **dict.fromkeys(controls, 4.0)}
    found = results(losses, dict.fromkeys(losses, sbp / 10), gap_closed=-0.5, gap_closed_recall=-0.5)
    for arm in losses:
        found["arms"][arm] |= {"choice_accuracy": 0.1, "choice_stderr": 0.01, "choice_chance": 0.25}
    for pair in found["comparisons"].values():
        pair["test_loss"] = pair["test_loss"] if evaluated else None
    told = verdict(found)
    begin = [tuple(sentence.split()[:4]) for sentence in told]
    assert len(set(begin)) == len(begin) > 7, told
