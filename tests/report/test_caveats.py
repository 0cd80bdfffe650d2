"""Sentences on what limits the results."""

from __future__ import annotations

import pytest
from support.verdict_results import results

from megatron_sbp.report.verdict import verdict


@pytest.mark.parametrize(("of_questions", "remarked"), [(0.03, False), (0.003, True)])
def test_replicates_that_agree_are_not_below_chance_by_the_noise_of_the_questions(of_questions, remarked):
    """All replicates answer the same questions, and miss the same ones."""
    found = results({"baseline": 4.0, "sbp": 3.0}, replicates=3)
    arm = found["arms"]["sbp"]
    arm |= {"choice_accuracy": 0.24, "choice_stderr": of_questions, "choice_chance": 0.25}
    arm["mean"] = {"choice_accuracy": {"mean": 0.24, "stderr": 0.002}}
    assert any("below chance" in sentence for sentence in verdict(found)) == remarked


def test_text_without_pairs_is_neither_related_nor_a_control_on_random_pairs():
    """An arm that reads the baseline's samples, alone and beside an SBP whose pairs are random."""
    synthesizers = {"self": {"method": "samples"}, "random": {"method": "tuned", "pairs": {"relation": "random"}}}
    for arms, told in (({"self": "self"}, ""), ({"sbp": "random", "self": "self"}, "This run is the control")):
        found = results({"baseline": 4.0, **dict.fromkeys(arms, 3.5)})
        found["recipe"] |= {"arms": {arm: {"synthetic": name} for arm, name in arms.items()}}
        found["recipe"] |= {"synthesizers": synthesizers}
        text = " ".join(verdict(found))
        assert "relatedness of the pairs" not in text and ("This run is the control" in text) == bool(told)


def test_a_baseline_that_overfits_is_said_to():
    found = results({"baseline": 4.0, "sbp": 3.5})
    found["arms"]["baseline"]["best_valid"] = {"loss": 3.0, "tokens": 10, "last_loss": 3.5, "last_tokens": 20}
    found["arms"]["sbp"]["best_valid"] = {"loss": 3.1, "tokens": 20, "last_loss": 3.2, "last_tokens": 20}
    told = " ".join(verdict(found))
    assert (
        "lowest before its end: 3.0000 after 10 tokens" in told
        and "SBP ends at 3.2000, above the baseline's best" in told
    )


@pytest.mark.parametrize(("last", "error", "remarked"), [(3.001, 0.01, False), (3.03, 0.01, True), (3.0, None, False)])
def test_a_baseline_that_was_better_by_no_more_than_the_noise_is_not_said_to_overfit(last, error, remarked):
    found = results({"baseline": 4.0, "sbp": 3.5})
    found["arms"]["baseline"]["valid_loss_stderr"] = error
    found["arms"]["baseline"]["best_valid"] = {"loss": 3.0, "tokens": 10, "last_loss": last, "last_tokens": 20}
    assert any("lowest before its end" in sentence for sentence in verdict(found)) == remarked


@pytest.mark.parametrize(("best", "remarked"), [(4.2, True), (3.9, False)])
def test_tuning_that_does_not_lower_the_loss_is_said_to(best, remarked):
    found = verdict(results({"baseline": 4.0}, tuning={"valid_loss_before": 4.0, "best_valid_loss": best}))
    told = "its loss on pairs of unseen documents was 4.0000 before and 4.2000 at its best checkpoint."
    assert any(told in sentence for sentence in found) == remarked


def test_a_synthesizer_that_does_not_read_is_said_to():
    for pairs, difference, error, told in (
        (500, 0.5, 0.01, "The synthesizer reads its seed"),
        (500, 0.001, 0.01, "does not read its seed, it only remembers"),
        (500, 0.12, 0.07, "Too few pairs were measured to say whether the synthesizer reads its seed"),
        (1, 0.9, None, "Too few pairs were measured"),
        (2, 0.1, 0.03, "Too few pairs were measured"),  # Student's interval is 12.7 standard errors to each side
        (3, 0.001, 0.012, "Too few pairs were measured"),
    ):
        reading = {"pairs": pairs, "gain": difference, "gain_stderr": error}
        reading |= {"loss_true_seed": 3.0, "loss_wrong_seed": 3.0 + difference}
        found = verdict(results({"baseline": 4.0, "sbp": 3.5}, tuning={"reading": reading}))
        assert any(told in sentence for sentence in found)


@pytest.mark.parametrize("shown", [True, False])
def test_an_arm_without_any_right_answer_is_judged_by_the_exact_interval(shown):
    """Its standard error is 0; of few groups that proves nothing."""
    found = results({"baseline": 4.0, "sbp": 3.0})
    high = 0.2 if shown else 0.5
    found["arms"]["sbp"] |= {"choice_accuracy": 0.0, "choice_stderr": 0.0, "choice_chance": 0.25, "choice_high": high}
    remarks = [sentence for sentence in verdict(found) if "below chance" in sentence]
    assert len(remarks) == shown
    told = "more than the noise: 0\u00a0%, 95 % interval up to 20.0\u00a0%, against 25\u00a0%"
    assert not shown or told in remarks[0]
