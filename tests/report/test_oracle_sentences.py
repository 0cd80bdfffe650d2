"""Sentences on the oracle: its gain, and where it is behind."""

from __future__ import annotations

import pytest
from support.verdict_results import results

from megatron_sbp.report.verdict import verdict


def test_both_shares_of_the_gain_of_the_oracle_stand_in_one_sentence():
    losses = {"baseline": 4.0, "sbp": 3.5, "oracle": 3.0}
    told = verdict(results(losses, gap_closed=0.5, gap_closed_recall=-0.25))
    assert (
        "SBP reaches 50\u00a0% of the oracle's gain over the baseline in test loss, and none of it in closed-book "
        "recall, where it is behind the baseline (share −25\u00a0%)."
    ) in told


@pytest.mark.parametrize(("high", "told"), [(0.1, "SBP reaches −1"), (-0.005, "it is behind the baseline")])
def test_sbp_is_behind_the_baseline_only_where_the_whole_interval_is(high, told):
    found = results({"baseline": 4.0, "sbp": 4.001, "oracle": 3.9})
    found |= {"gap_closed": -0.01, "gap_closed_low": -0.12, "gap_closed_high": high}
    (sentence,) = (line for line in verdict(found) if "gain" in line and "oracle's" in line)
    assert told in sentence and ("behind" in sentence) == (high < 0)


@pytest.mark.parametrize("behind", [("sbp",), ("sbp", "baseline")])
def test_an_oracle_that_recalls_less_is_called_no_upper_bound(behind):
    recalls = {"baseline": 0.7 if "baseline" in behind else 0.5, "sbp": 0.7, "oracle": 0.6}
    found = results({"baseline": 4.0, "sbp": 3.5, "oracle": 3.0}, recalls)
    found["arms"]["oracle"]["real_epochs"], found["arms"]["baseline"]["real_epochs"] = 0.95, 74.75
    compared = found["comparisons"]["sbp-oracle"]["recall"]
    compared |= {"low": 0.057, "high": 0.176}
    [told] = [sentence for sentence in verdict(found) if "the oracle is behind" in sentence]
    assert told.startswith("In closed-book recall, the oracle is behind ")
    assert "SBP (by 10.0 points [+5.7, +17.6])" in told
    assert ("the repetition baseline (by 10.0 points)" in told) == ("baseline" in behind)
    assert "no upper bound in this figure, and no share of its gain is given." in told
    assert told.endswith(" 0.95 times over, the baseline those of D 74.75 times, which may be the reason.")


def test_an_oracle_behind_in_test_loss_is_said_and_one_ahead_is_not():
    told = verdict(results({"baseline": 4.0, "sbp": 2.5, "oracle": 3.0}, gap_closed=1.5))
    [said] = [sentence for sentence in told if "the oracle is behind" in sentence]
    assert "In test loss, the oracle is behind SBP (by 0.5000 nats per token)" in said
    assert "a share of its gain can exceed 100\u00a0%" in said
    assert not any("is behind SBP" in sentence for sentence in verdict(results({"baseline": 4, "sbp": 3, "oracle": 2})))
