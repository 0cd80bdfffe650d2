"""Differences between arms with intervals, and the share of the oracle's gain that SBP reaches."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.report.intervals import Estimate, crossed_ratio, stratified_ratio
from megatron_sbp.report.numbers import signed

Evaluations = Sequence[Mapping[str, JsonObject | None]]
"""evaluation/ARM.json of every replicate, by arm."""

Strata = Sequence[tuple[np.ndarray, np.ndarray]]
"""Sums and weights of the units of each stratum: float64 [replicates, units] both."""

FIGURES = ("test_loss", "choice_accuracy", "recall")

_ENDS = {"choice_accuracy": (-1.0, 1.0), "recall": (-1.0, 1.0)}
"""The most that an arm can lose and gain in a unit, of figures that have a bound."""


def all_comparisons(evaluations: Evaluations) -> dict[str, JsonObject]:
    """What each arm gained over each other one: `first-second`, positive is better for the first.

    Returns:
        By pair and figure (test_loss in nats per token, choice_accuracy, recall): difference, stderr, low, high, the
        ends of a 95 % interval over test units and replicates; None where one of the two was not measured. Where two
        arms have the same gain in every group of questions, there is no stderr, and the interval is that of
        `intervals.without_spread`.

    Raises:
        InputError: two evaluations have different test sequences or questions.
    """
    return {
        f"{first}-{second}": {figure: comparison(evaluations, first, second, figure) for figure in FIGURES}
        for first, second in itertools.permutations(evaluations[0], 2)
    }


def comparison(evaluations: Evaluations, first: str, second: str, figure: str) -> JsonObject | None:
    """One difference; see `all_comparisons`."""
    gained = _gained(evaluations, first, second, figure)
    if gained is None:
        return None
    found = crossed_ratio(*gained, _ENDS.get(figure))
    return {"difference": found.value, **found.uncertainty()}


def _gained(evaluations: Evaluations, first: str, second: str, figure: str) -> tuple[np.ndarray, np.ndarray] | None:
    """What the first arm gained in every test unit, and the units' weights: float64 [replicates, units] both."""
    rows = []
    for replicate in evaluations:
        one, other = (_units(replicate[arm], figure) for arm in (first, second))
        if one is None or other is None:
            return None
        if not np.array_equal(one[1], other[1]) or len(one[0]) != len(other[0]):
            raise InputError(f"{first} and {second} were evaluated on different {_WHAT[figure]}", key="evaluation")
        sign = -1.0 if figure == "test_loss" else 1.0
        gained = sign * (one[0] - other[0])
        rows.append((gained * one[1] if figure == "test_loss" else gained, one[1]))
    if any(not np.array_equal(rows[0][1], weights) for _, weights in rows):
        raise InputError(f"the replicates were evaluated on different {_WHAT[figure]}", key="evaluation")
    return np.stack([gained for gained, _ in rows]), np.stack([weights for _, weights in rows])


_WHAT = {"test_loss": "test sequences", "choice_accuracy": "continuations", "recall": "questions"}


def _units(evaluation: JsonObject | None, figure: str) -> tuple[np.ndarray, np.ndarray] | None:
    """The independent units of one evaluation: losses and tokens of sequences, or credits and sizes of groups."""
    if not evaluation:
        return None
    if figure == "test_loss":
        counts = np.array(evaluation["test"]["sequence_tokens"], np.float64)
        return np.array(evaluation["test"]["sequence_losses"], np.float64), counts
    if figure == "choice_accuracy":
        credits = evaluation["choice"].get("credits")
        if not credits:
            return None
        groups = np.array(credits, np.float64).reshape(-1, evaluation["choice"]["group_size"])
        return groups.sum(axis=1), np.full(len(groups), float(groups.shape[1]))
    recall = evaluation.get("recall")
    if not recall:
        return None
    return np.array(recall["group_credits"], np.float64), np.array(recall["group_questions"], np.float64)


def gap_figures(evaluations: Evaluations) -> JsonObject:
    """Share of the oracle's gain that SBP reaches: `gap_closed` (loss), `gap_closed_accuracy`, `gap_closed_recall`.

    Each comes with _stderr, _low and _high (95 %), and with _reason, which says why there is no share.
    """
    result: JsonObject = {}
    for name, figure in (
        ("gap_closed", "test_loss"),
        ("gap_closed_accuracy", "choice_accuracy"),
        ("gap_closed_recall", "recall"),
    ):
        found, reason = gap_closed(evaluations, figure)
        for part, value in (("", "value"), ("_stderr", "stderr"), ("_low", "low"), ("_high", "high")):
            result[name + part] = None if found is None else getattr(found, value)
        result[f"{name}_reason"] = reason
    return result


def gap_closed(evaluations: Evaluations, figure: str) -> tuple[Estimate | None, str | None]:
    """(sbp - baseline) / (oracle - baseline) of a gain: 1 when SBP reaches the oracle, 0 when it gains nothing.

    Returns:
        The share and None; or None and the reason, when an arm is missing or the 95 % interval of the oracle's gain
        over the baseline is not above zero: then there is no gain to take a share of.
    """
    what = figure.replace("_", " ")
    absent = [arm for arm in ("baseline", "sbp", "oracle") if arm not in evaluations[0]]
    if absent:
        return None, f"no arm {', '.join(absent)}"
    missing = [
        arm for arm in ("baseline", "sbp", "oracle") if any(_units(entry[arm], figure) is None for entry in evaluations)
    ]
    if missing:
        return None, f"no {what} of {', '.join(missing)}"
    lead = _gained(evaluations, "oracle", "baseline", figure)
    gain = _gained(evaluations, "sbp", "baseline", figure)
    assert lead is not None and gain is not None
    return share_of_lead([gain], [lead], what, _ENDS.get(figure))


def share_of_lead(
    gain: Strata, lead: Strata, what: str, ends: tuple[float, float] | None = None
) -> tuple[Estimate | None, str | None]:
    """The share of the oracle's lead over the baseline that an arm gained, in one stratum or several.

    Args:
        gain: of the arm over the baseline, as `stratified_ratio` takes it.
        lead: of the oracle over the baseline.
        what: what was measured, in words.
        ends: of the lead, as for `crossed_ratio`.

    Returns:
        As `gap_closed`.
    """
    oracle = stratified_ratio(lead, ends)
    if oracle.value <= 0:
        return None, f"the oracle is not ahead of the baseline in {what}: {signed(oracle.value, None, 4)}"
    if oracle.low is None:
        return None, f"of the oracle's gain in {what}, {oracle.value:.4f}, the noise is not known"
    # By the interval, as the sentences on the arms: two standard errors are too few where few replicates gave them.
    if oracle.low <= 0:
        noise = f" ({oracle.stderr:.4f})" if oracle.stderr is not None else ""
        return None, f"the oracle's gain in {what}, {oracle.value:.4f}, is within its noise{noise}"
    return stratified_ratio([(one[0], other[0]) for one, other in zip(gain, lead, strict=True)]), None
