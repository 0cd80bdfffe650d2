"""Sentences and headline follow from the numbers: better, worse, and noise, for few arms and for many."""

from __future__ import annotations

from typing import Any

import pytest

from megatron_sbp.report.verdict import NOISE, headline, verdict

NOTHING = {f"gap_closed{figure}{part}": None for figure in ("", "_recall") for part in ("", "_low", "_high")}


def gain(difference: float, stderr: float | None = 0.01) -> dict[str, Any]:
    return {"difference": difference, "stderr": stderr, "low": None, "high": None}


def results(losses: dict[str, float], recalls: dict[str, float] | None = None, **changes: Any) -> dict[str, Any]:
    """What the sentences read of results.json; every difference has a standard error of 0.01."""
    arms = {
        arm: {
            "test_loss": loss, "recall": (recalls or {}).get(arm), "recall_chance": 0.05, "choice_accuracy": None,
            "choice_stderr": None, "choice_chance": None, "choice_reason": "too few documents", "best_valid": None,
        }
        for arm, loss in losses.items()
    }  # fmt: skip
    compared = {
        f"{one}-{other}": {
            "test_loss": gain(losses[other] - losses[one]),
            "recall": None if recalls is None else gain(recalls[one] - recalls[other]),
            "choice_accuracy": None,
        }
        for one in losses
        for other in losses
        if one != other
    }
    recipe = {"arms": {arm: {"synthetic": None} for arm in arms}, "synthesizers": {}, "pairs": {"relation": "related"},
              "tuning": {"start": None}}  # fmt: skip
    return {"arms": arms, "comparisons": compared, "replicates": 1, "recipe": recipe, **NOTHING,
            "gap_closed_reason": "no reason", **changes}  # fmt: skip


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


def test_a_control_is_named_first_where_sbp_is_compared_with_it():
    told = verdict(results({"baseline": 4.0, "sbp": 3.5, "noise": 3.9}, {"baseline": 0.2, "sbp": 0.6, "noise": 0.2}))
    assert told[2].startswith("Against the arm noise, SBP has a lower test loss: 3.5000 against 3.9000 nats per token")
    assert told[2].endswith("; it recalls more without reading: 60.0\u00a0% against 20.0\u00a0% (+40.0 ±\u00a01.0 "
                            "points, chance 5.0\u00a0%).")  # fmt: skip


def test_both_shares_of_the_gain_of_the_oracle_stand_in_one_sentence():
    losses = {"baseline": 4.0, "sbp": 3.5, "oracle": 3.0}
    told = verdict(results(losses, gap_closed=0.5, gap_closed_recall=-0.25))
    assert (
        "SBP reaches 50\u00a0% of the oracle's gain over the baseline in test loss, and none of it in closed-book "
        "recall, where it is behind the baseline (share −25\u00a0%)."
    ) in told


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


@pytest.mark.parametrize(("high", "told"), [(0.1, "SBP reaches −1"), (-0.005, "it is behind the baseline")])
def test_sbp_is_behind_the_baseline_only_where_the_whole_interval_is(high, told):
    found = results({"baseline": 4.0, "sbp": 4.001, "oracle": 3.9})
    found |= {"gap_closed": -0.01, "gap_closed_low": -0.12, "gap_closed_high": high}
    (sentence,) = (line for line in verdict(found) if "gain" in line and "oracle's" in line)
    assert told in sentence and ("behind" in sentence) == (high < 0)


def test_a_baseline_that_overfits_is_said_to():
    found = results({"baseline": 4.0, "sbp": 3.5})
    found["arms"]["baseline"]["best_valid"] = {"loss": 3.0, "tokens": 10, "last_loss": 3.5, "last_tokens": 20}
    found["arms"]["sbp"]["best_valid"] = {"loss": 3.1, "tokens": 20, "last_loss": 3.2, "last_tokens": 20}
    told = " ".join(verdict(found))
    assert (
        "lowest before its end: 3.0000 after 10 tokens" in told
        and "SBP ends at 3.2000, above the baseline's best" in told
    )


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


def test_a_difference_of_nothing_in_every_group_is_noise_with_an_interval():
    found = results({"baseline": 4.0, "sbp": 3.0}, {"baseline": 0.2, "sbp": 0.2})
    alike = {"difference": 0.0, "stderr": None, "low": -0.112, "high": 0.112}
    found["comparisons"]["sbp-baseline"]["recall"] = alike
    told = verdict(found)[0]
    assert "the difference is no more than the noise" in told and "0.0 points, 95 % interval −11.2 to +11.2" in told


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
    assert told.endswith("0.9 times over, the baseline those of D 74.8 times, which may be the reason.")


def test_an_oracle_behind_in_test_loss_is_said_and_one_ahead_is_not():
    told = verdict(results({"baseline": 4.0, "sbp": 2.5, "oracle": 3.0}, gap_closed=1.5))
    [said] = [sentence for sentence in told if "the oracle is behind" in sentence]
    assert "In test loss, the oracle is behind SBP (by 0.5000 nats per token)" in said
    assert "a share of its gain can exceed 100\u00a0%" in said
    assert not any("is behind SBP" in sentence for sentence in verdict(results({"baseline": 4, "sbp": 3, "oracle": 2})))
