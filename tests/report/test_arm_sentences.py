"""Sentences on arms: better, worse, and noise, for few and for many."""

from __future__ import annotations

import pytest
from support.verdict_results import results

from megatron_sbp.report.verdict import verdict


@pytest.mark.parametrize(
    ("recalls", "figure"), [(True, "closed-book recall"), (False, "picking the true continuation")]
)
def test_many_arms_are_summed_up_in_one_sentence_per_figure(recalls, figure):
    losses = {"baseline": 4.0, "a": 3.0, "b": 4.005, "c": 5.0, "sbp": 3.5, "oracle": 2.0}
    found = verdict(results(losses, dict.fromkeys(losses, 0.5) if recalls else None))
    compared = [sentence for sentence in found if sentence.startswith("Compared with")]
    assert compared[0].startswith(
        "Compared with the repetition baseline in test loss, better: a (−1.0000), SBP (−0.5000), and oracle (−2.0000); "
        "worse: c (+1.0000); no more than noise: b (+0.0050)."
    )
    against_sbp = [sentence for sentence in compared if sentence.startswith("Compared with SBP")]
    assert against_sbp[0].startswith("Compared with SBP in test loss, better: a (−0.5000); worse: b")
    assert len(compared) == 2 and (f" In {figure}, no more than noise: " in compared[0]) == recalls


def test_few_arms_get_a_sentence_each():
    found = verdict(results({"baseline": 4.0, "sbp": 3.5}))
    assert found[0] == (
        "SBP has a lower test loss than the repetition baseline: 3.5000 against 4.0000 nats per token "
        "(−0.5000 ±\u00a00.0100); there is no choice accuracy to compare: too few documents."
    )


def test_a_control_is_named_first_where_sbp_is_compared_with_it():
    told = verdict(results({"baseline": 4.0, "sbp": 3.5, "noise": 3.9}, {"baseline": 0.2, "sbp": 0.6, "noise": 0.2}))
    assert told[2].startswith("Against the arm noise, SBP has a lower test loss: 3.5000 against 3.9000 nats per token")
    assert told[2].endswith("; it recalls more without reading: 60.0\u00a0% against 20.0\u00a0% (+40.0 ±\u00a01.0 "
                            "points, chance 5.0\u00a0%).")  # fmt: skip


def test_values_and_their_difference_are_of_all_replicates():
    found = results({"baseline": 4.0, "sbp": 3.0}, {"baseline": 0.2, "sbp": 0.6}, replicates=3)
    for arm, (loss, recall) in {"baseline": (4.5, 0.25), "sbp": (3.5, 0.65)}.items():
        found["arms"][arm]["mean"] = {
            "test_loss": {"mean": loss, "stderr": 0.1},
            "recall": {"mean": recall, "stderr": 0.1},
        }
    told = verdict(found)
    assert "SBP has a lower test loss than the repetition baseline: 3.5000 against 4.5000 nats" in told[0]
    assert "65.0\u00a0% against 25.0\u00a0%" in told[0]
    assert any("means over 3 replicates" in sentence for sentence in told)


def test_a_difference_of_nothing_in_every_group_is_noise_with_an_interval():
    found = results({"baseline": 4.0, "sbp": 3.0}, {"baseline": 0.2, "sbp": 0.2})
    alike = {"difference": 0.0, "stderr": None, "low": -0.112, "high": 0.112}
    found["comparisons"]["sbp-baseline"]["recall"] = alike
    told = verdict(found)[0]
    assert "the difference is no more than the noise" in told and "0.0 points, 95 % interval −11.2 to +11.2" in told
