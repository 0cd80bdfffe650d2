"""What the numbers say, in plain sentences that follow from them alone. No arm is favored."""

from __future__ import annotations

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.report.arm_sentences import compared_in, many_arms, outcome_of, two_arms
from megatron_sbp.report.arm_table import MOST_COLUMNS
from megatron_sbp.report.caveats import below_chance, ignored_seed, limits, overfitting, read_seed, useless_tuning
from megatron_sbp.report.means import quoted
from megatron_sbp.report.names import names_of
from megatron_sbp.report.oracle_sentences import oracle_gap


def verdict(results: JsonObject) -> list[str]:
    """Sentences on the outcome: loss, recall and accuracy against the baseline and the controls, the oracle, limits."""
    measured = results["arms"]
    arms = quoted(measured)
    results = {**results, "arms": arms}
    pairs = {
        "the repetition baseline": [(arm, "baseline") for arm in arms if arm != "baseline" and "baseline" in arms],
        "SBP": [(arm, "sbp") for arm in arms if arm not in ("baseline", "sbp", "oracle") and "sbp" in arms],
    }
    if len(arms) > MOST_COLUMNS:
        sentences = [line for rival, compared in pairs.items() for line in many_arms(results, rival, compared)]
    else:
        sentences = [two_arms(results, first, second) for first, second in pairs["the repetition baseline"]]
        sentences += [two_arms(results, sbp, control, rival_first=True) for control, sbp in pairs["SBP"]]
    return [
        *sentences,
        *oracle_gap(results),
        *useless_tuning(results.get("tuning")),
        *read_seed(results.get("tuning")),
        *ignored_seed(results.get("quality")),
        *below_chance(measured),
        *overfitting(measured),
        *limits(results),
    ]


def headline(results: JsonObject) -> str:
    """One line: did SBP win, on closed-book recall if it was measured, and on the test loss?"""
    against = [arm for arm in results["arms"] if arm not in ("sbp", "oracle")]
    if "sbp" not in results["arms"] or not against:
        return "This run has no SBP arm beside a baseline: there is nothing to say about SBP."
    measured = {
        figure: [compared_in(results, "sbp", arm, figure) for arm in against] for figure in ("recall", "test_loss")
    }
    if None in measured["test_loss"]:
        return "The arms have not been evaluated: there is no result yet."
    parts: dict[str, list[str]] = {}
    for figure, what in (("recall", "closed-book recall"), ("test_loss", "test loss")):
        outcomes = {arm: outcome_of(found) for arm, found in zip(against, measured[figure], strict=True) if found}
        rivals = {
            kind: names_of([arm for arm, outcome in outcomes.items() if outcome == kind])
            for kind in ("better", "worse", "noise")
        }
        if rivals["worse"]:
            told = f"SBP lost to {rivals['worse']}"
        elif rivals["noise"]:
            told = f"SBP cannot be told apart from {rivals['noise']}"
        elif rivals["better"]:
            told = f"SBP is ahead of {rivals['better']}"
        else:
            continue
        parts.setdefault(told, []).append(f"in {what}")
    return "; ".join(f"{told} {' and '.join(where)}" for told, where in parts.items()) + ", at equal training tokens."
