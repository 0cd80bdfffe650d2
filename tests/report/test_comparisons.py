"""Differences between arms: paired, signed so that positive is better, over test units and replicates."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.report.comparisons import FIGURES, all_comparisons, comparison, gap_closed, gap_figures


def evaluations(replicates: list[dict[str, list[float]]]) -> list[dict[str, dict]]:
    """Evaluations of which only the test losses of four sequences of ten tokens are known."""
    return [
        {arm: {"test": {"sequence_losses": losses, "sequence_tokens": [10] * 4}} for arm, losses in arms.items()}
        for arms in replicates
    ]


def test_no_share_of_a_gain_within_its_noise():
    noisy = {"baseline": [4.0, 4.0, 4.0, 4.0], "sbp": [3.9] * 4, "oracle": [3.0, 4.9, 3.2, 4.8]}
    found, why = gap_closed(evaluations([noisy]), "test_loss")
    assert found is None and "0.0250, is within its noise" in why
    clear = noisy | {"oracle": [3.5, 3.6, 3.5, 3.6]}
    found, why = gap_closed(evaluations([clear]), "test_loss")
    assert why is None and found.value == pytest.approx(0.1 / 0.45)


def test_a_gain_that_the_sentences_call_noise_has_no_share():
    """Over three replicates 2.4 standard errors are noise: the 95 % interval is 4.3 of them to each side."""
    losses = [3.0, 3.1, 2.9, 3.0]
    arms = [
        {"baseline": losses, "sbp": [2.95] * 4, "oracle": [loss - lead for loss in losses]}
        for lead in (0.05, 0.12, 0.25)
    ]
    lead = comparison(evaluations(arms), "oracle", "baseline", "test_loss")
    assert lead["difference"] > 2 * lead["stderr"] and lead["low"] < 0
    found, why = gap_closed(evaluations(arms), "test_loss")
    assert found is None and "0.1400, is within its noise" in why


def test_a_run_without_oracle_has_no_share():
    found, why = gap_closed(evaluations([{"baseline": [4.0] * 4, "sbp": [3.0] * 4}]), "test_loss")
    assert found is None and why == "no arm oracle"


def test_replicates_widen_the_interval():
    """Gains of 0.1, 0.3 and 0.2: their spread counts, not only that of the sequences."""
    gains = [
        {"baseline": [4.0, 4.1, 3.9, 4.0], "sbp": [4.0 - gain, 4.1 - gain, 3.9 - gain, 4.0 - gain]}
        for gain in (0.1, 0.3, 0.2)
    ]
    found = comparison(evaluations(gains), "sbp", "baseline", "test_loss")
    assert found["difference"] == pytest.approx(0.2)
    assert found["stderr"] == pytest.approx(0.1 / np.sqrt(3))
    assert found["high"] - 0.2 == pytest.approx(4.3027 * 0.1 / np.sqrt(3), rel=1e-4)  # Student, 2 degrees of freedom
    alone = comparison(evaluations(gains[:1]), "sbp", "baseline", "test_loss")
    assert alone["stderr"] == pytest.approx(0.0, abs=1e-9)


def test_positive_is_better_for_the_first_in_every_figure():
    good = {"test": {"sequence_losses": [3.0, 3.2], "sequence_tokens": [10, 30]},
            "choice": {"credits": [1, 1, 0, 1], "group_size": 2},
            "recall": {"group_credits": [2.0, 1.0], "group_questions": [2, 2]}}  # fmt: skip
    bad = {"test": {"sequence_losses": [4.0, 3.4], "sequence_tokens": [10, 30]},
           "choice": {"credits": [0, 1, 0, 0], "group_size": 2},
           "recall": {"group_credits": [1.0, 0.0], "group_questions": [2, 2]}}  # fmt: skip
    found = all_comparisons([{"good": good, "bad": bad}])
    assert found.keys() == {"good-bad", "bad-good"}
    for figure in FIGURES:
        assert found["good-bad"][figure]["difference"] == -found["bad-good"][figure]["difference"] > 0
    # Sequences weigh by their tokens: (10 x 1.0 + 30 x 0.2) / 40.
    assert found["good-bad"]["test_loss"]["difference"] == pytest.approx(0.4)
    assert found["good-bad"]["choice_accuracy"]["difference"] == 0.5
    assert found["good-bad"]["recall"]["difference"] == 0.5


def test_what_was_not_measured_is_none():
    one = {"test": {"sequence_losses": [3.0], "sequence_tokens": [10]}, "choice": {"credits": []}}
    assert comparison([{"a": one, "b": None}], "a", "b", "test_loss") is None
    assert comparison([{"a": one, "b": one}], "a", "b", "choice_accuracy") is None
    assert comparison([{"a": one, "b": one}], "a", "b", "recall") is None


@pytest.mark.parametrize(
    ("tokens", "who"), [([10, 20, 10, 10], "first and second were"), ([10] * 3, "first and second")]
)
def test_other_test_sequences_are_an_error(tokens, who):
    found = evaluations([{"first": [1.0] * 4, "second": [2.0] * 4}])
    found[0]["second"]["test"] = {"sequence_losses": [2.0] * len(tokens), "sequence_tokens": tokens}
    with pytest.raises(InputError, match=f"{who}.*different test sequences"):
        comparison(found, "first", "second", "test_loss")


def test_replicates_with_other_test_sequences_are_an_error():
    found = evaluations([{"a": [1.0] * 4, "b": [2.0] * 4}] * 2)
    for arm in ("a", "b"):
        found[1][arm]["test"] = {**found[1][arm]["test"], "sequence_tokens": [9] * 4}
    with pytest.raises(InputError, match="the replicates were evaluated on different test sequences"):
        comparison(found, "a", "b", "test_loss")


def test_the_share_of_a_gain_has_a_reason_or_a_value():
    arms = {"baseline": [4.0, 4.2, 4.1, 3.9], "sbp": [3.9, 4.1, 4.0, 3.8], "oracle": [3.5, 3.7, 3.6, 3.4]}
    found = gap_figures([{arm: {**entry, "choice": {}} for arm, entry in evaluations([arms])[0].items()}])
    assert found["gap_closed"] == pytest.approx(0.2) and found["gap_closed_reason"] is None
    assert found["gap_closed_accuracy"] is None
    assert found["gap_closed_accuracy_reason"] == "no choice accuracy of baseline, sbp, oracle"
    assert found["gap_closed_recall_low"] is None
    behind = evaluations([{**arms, "oracle": [5.0] * 4}])
    assert "the oracle is not ahead of the baseline in test loss: −0.9500" in gap_closed(behind, "test_loss")[1]
    assert np.isfinite(found["gap_closed_stderr"])


def test_a_gain_whose_noise_is_not_known_has_no_share():
    """One test sequence, or one group of questions, and one training of each arm."""
    losses = {"baseline": 4.0, "sbp": 3.9, "oracle": 3.5}
    found = {arm: {"test": {"sequence_losses": [loss], "sequence_tokens": [10]}} for arm, loss in losses.items()}
    share, reason = gap_closed([found], "test_loss")
    assert share is None and "oracle's gain in test loss, 0.5000, the noise is not known" in reason
