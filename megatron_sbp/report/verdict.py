"""What the numbers say, in plain sentences that follow from them alone. No arm is favoured."""

from __future__ import annotations

from typing import Any

from megatron_sbp.report.numbers import fixed, percent, signed

NOISE = 2.0
"""A difference below so many standard errors is called noise."""


def verdict(results: dict[str, Any]) -> list[str]:
    """Sentences on the outcome: the loss, the accuracy, the oracle, then what they do not prove."""
    sentences = [
        *_against_baseline(results, "baseline-sbp", "SBP"),
        *_against_baseline(results, "baseline-oracle", "The oracle"),
        _gap(results),
        *_recall(results, "baseline-sbp", "SBP"),
        *_recall(results, "baseline-oracle", "The oracle"),
        *_reading(results.get("tuning")),
        *_below_chance(results["arms"]),
        *_overfitting(results["arms"]),
        *_limits(results),
    ]
    return sentences


def headline(results: dict[str, Any]) -> str:
    """One line: did SBP win on the test loss?"""
    comparison = results["comparisons"].get("baseline-sbp")
    if comparison is None:
        return "The arms have not been evaluated: there is no result yet."
    outcome = _outcome(comparison["test_loss"], comparison["test_loss_stderr"])
    return {
        "better": "SBP has a lower test loss than the repetition baseline in this run.",
        "worse": "SBP lost: its test loss is higher than that of the repetition baseline in this run.",
        "noise": "SBP and the repetition baseline cannot be told apart on the test loss of this run.",
    }[outcome]


def _outcome(gain: float, error: float | None) -> str:
    """better, worse, or noise, for a gain with its standard error."""
    if error is None or abs(gain) < NOISE * error or gain == 0:
        return "noise"
    return "better" if gain > 0 else "worse"


def _against_baseline(results: dict[str, Any], pair: str, name: str) -> list[str]:
    comparison = results["comparisons"].get(pair)
    if comparison is None:
        return [f"{name} cannot be compared with the baseline: one of them has not been evaluated."]
    first, second = pair.split("-")
    loss = {arm: results["arms"][arm]["test_loss"] for arm in (first, second)}
    gain, error = comparison["test_loss"], comparison["test_loss_stderr"]
    values = f"{fixed(loss[second], 4)} against {fixed(loss[first], 4)} nats per token"
    # The sign is turned: readers expect the change of the loss, below zero when it fell.
    change = signed(-gain, error, 4)
    sentences = [
        {
            "better": f"{name} has a lower test loss than the baseline: {values} ({change}).",
            "worse": f"{name} has a higher test loss than the baseline: {values} ({change}).",
            "noise": f"{name} and the baseline differ in test loss by no more than the noise of the test set: {values} "
            f"({change}, below {NOISE:g} standard errors).",
        }[_outcome(gain, error)]
    ]
    if comparison["choice_accuracy"] is None:
        reason = results["arms"][second]["choice_reason"] or results["arms"][first]["choice_reason"] or "not measured"
        return [*sentences, f"There is no choice accuracy to compare: {reason}."]
    gain, error = comparison["choice_accuracy"], comparison["choice_stderr"]
    points = signed(100 * gain, None if error is None else 100 * error, 1)
    accuracy = {arm: percent(results["arms"][arm]["choice_accuracy"]) for arm in (first, second)}
    values = f"{accuracy[second]} against {accuracy[first]} ({points} points)"
    sentences.append(
        {
            "better": f"{name} picks the true continuation more often: {values}.",
            "worse": f"{name} picks the true continuation less often: {values}.",
            "noise": f"In picking the true continuation the difference is within the noise of the questions: {values}.",
        }[_outcome(gain, error)]
    )
    return sentences


def _recall(results: dict[str, Any], pair: str, name: str) -> list[str]:
    """The closed-book recall of an arm beside the baseline's; nothing where no questions were asked."""
    comparison = results["comparisons"].get(pair)
    if comparison is None or comparison["recall"] is None:
        return []
    first, second = (results["arms"][arm] for arm in pair.split("-"))
    gain, error = comparison["recall"], comparison["recall_stderr"]
    points = signed(100 * gain, None if error is None else 100 * error, 1)
    values = f"{percent(second['recall'])} against {percent(first['recall'])} ({points} points"
    values += f", chance {percent(second['recall_chance'])})"
    return [
        {
            "better": f"{name} recalls more without reading: {values}.",
            "worse": f"{name} recalls less without reading: {values}.",
            "noise": f"In closed-book recall the difference is within the noise of the questions: {values}.",
        }[_outcome(gain, error)]
    ]


def _reading(tuning: dict[str, Any] | None) -> list[str]:
    """Whether the synthesizer reads its seed, on pairs of unseen documents."""
    found = (tuning or {}).get("reading") or {}
    gain, error = found.get("gain"), found.get("gain_stderr")
    if gain is None:
        return []
    losses = (
        f"on pairs of unseen documents its loss is {found['loss_true_seed']:.4f} with the true seed and "
        f"{found['loss_wrong_seed']:.4f} with a wrong one ({signed(gain, error, 4)})"
    )
    if _outcome(gain, error) == "better":
        return [f"The synthesizer reads its seed: {losses}."]
    return [f"The synthesizer does not read its seed, it only remembers: {losses}."]


def _below_chance(arms: dict[str, Any]) -> list[str]:
    """Says when an arm answers significantly worse than a guess: the questions are then suspect, not the arm."""
    found = []
    for arm, figures in arms.items():
        value, error, chance = figures["choice_accuracy"], figures["choice_stderr"], figures.get("choice_chance")
        if None not in (value, error, chance) and value < chance - NOISE * error:
            found.append(
                f"The accuracy of {arm} is below chance by more than {NOISE:g} standard errors: {percent(value)} ± "
                f"{100 * error:.1f} against {percent(chance, 0)}. A model that knows nothing scores chance here, so do "
                "not rely on this figure before the questions have been looked at."
            )
    return found


def _gap(results: dict[str, Any]) -> str:
    share, error = results["gap_closed"], results["gap_closed_stderr"]
    if share is None:
        return f"No share of the oracle's gain can be given: {results['gap_closed_reason']}."
    told = percent(share, 0) + ("" if error is None else f" ± {100 * error:.0f}")
    if share < 0:
        return f"SBP reaches none of the oracle's gain in test loss; it lies behind the baseline (share {told})."
    return f"SBP reaches {told} of the oracle's gain over the baseline in test loss."


def _overfitting(arms: dict[str, Any]) -> list[str]:
    """Says when the baseline was better before its end: a properly stopped or regularised baseline is the fair one."""
    best = arms["baseline"]["best_valid"]
    if not best or best["loss"] >= best["last_loss"] or best["tokens"] == best["last_tokens"]:
        return []
    text = (
        f"The baseline's own held-out loss was lowest before its end: {best['loss']:.4f} after {best['tokens']:,} "
        f"tokens, {best['last_loss']:.4f} at the end"
    )
    last = (arms["sbp"]["best_valid"] or {}).get("last_loss")
    if last is not None:
        side = "above" if last > best["loss"] else "below"
        text += f"; SBP ends at {last:.4f}, {side} the baseline's best"
    return [text + ". A baseline that is stopped early or regularised harder is the fairer opponent."]


def _limits(results: dict[str, Any]) -> list[str]:
    relation = results["recipe"]["pairs"]["relation"]
    sentences = [
        "One training seed per arm is no proof: the standard errors here hold the noise of the test set only, not that "
        "of another initialisation or another order of the data."
    ]
    if relation == "random":
        sentences.append(
            "This run is the control: its synthesizer was tuned on random pairs. What its SBP arm gains does not come "
            "from related documents."
        )
    else:
        sentences.append(
            "Nothing may be claimed for the relatedness of the pairs without the same run on random pairs "
            "(pairs.relation=random) beside it: any text that a model makes for itself regularises."
        )
    start = results["recipe"]["tuning"].get("start")
    if start in ("best", "scratch"):
        what = {"best": "the baseline's best checkpoint, not its last one", "scratch": "new weights"}[start]
        sentences.append(
            f"The synthesizer was tuned from {what} (tuning.start: {start}); the paper tunes the baseline."
        )
    elif start not in (None, "last"):
        sentences.append(
            f"The synthesizer was tuned from another model's weights (tuning.start: {start}), not from the baseline: "
            "its text carries what that model learned elsewhere, and a gain of the SBP arm is no bootstrapping from D."
        )
    return sentences
