"""Differences between arms with paired standard errors, and the share of the oracle's gain that SBP reaches."""

from __future__ import annotations

from typing import Any

import numpy as np

from megatron_sbp.base.errors import InputError
from megatron_sbp.evaluation.statistics import grouped_stderr, ratio_stderr
from megatron_sbp.recipe.names import ARMS

PAIRED = (("baseline", "sbp"), ("baseline", "oracle"), ("sbp", "oracle"))
"""Arms that are compared question by question and sequence by sequence."""


def comparison(first: dict[str, Any] | None, second: dict[str, Any] | None) -> dict[str, Any] | None:
    """What the second arm gained over the first: positive is better for the second.

    Standard errors are those of paired differences over test sequences and questions: the noise of the test set alone,
    not that of another training seed.
    """
    if not first or not second:
        return None
    counts = np.array(first["test"]["sequence_tokens"], np.float64)
    if first["test"]["sequence_tokens"] != second["test"]["sequence_tokens"]:
        raise InputError("the arms were evaluated on different test sequences", key="evaluation")
    gained = _nats(first) - _nats(second)
    result: dict[str, Any] = {
        "test_loss": float(gained.sum() / counts.sum()),
        "test_loss_stderr": ratio_stderr(gained, counts),
        "choice_accuracy": None,
        "choice_stderr": None,
        **_recall_comparison(first.get("recall"), second.get("recall")),
    }
    if first["choice"].get("credits") and second["choice"].get("credits"):
        difference = np.array(second["choice"]["credits"]) - np.array(first["choice"]["credits"])
        result |= {
            "choice_accuracy": float(difference.mean()),
            "choice_stderr": grouped_stderr(difference, first["choice"]["group_size"]),
        }
    return result


def _recall_comparison(first: dict[str, Any] | None, second: dict[str, Any] | None) -> dict[str, float | None]:
    """Gain in closed-book recall; its error is over the groups of questions."""
    if not first or not second:
        return {"recall": None, "recall_stderr": None}
    if first["group_questions"] != second["group_questions"]:
        raise InputError("the arms were asked different questions", key="evaluation.questions")
    counts = np.array(first["group_questions"], np.float64)
    gained = np.array(second["group_credits"]) - np.array(first["group_credits"])
    return {"recall": float(gained.sum() / counts.sum()), "recall_stderr": ratio_stderr(gained, counts)}


def _nats(evaluation: dict[str, Any]) -> np.ndarray:
    test = evaluation["test"]
    return np.array(test["sequence_losses"], np.float64) * np.array(test["sequence_tokens"], np.float64)


def gap_figures(evaluations: dict[str, Any], arms: dict[str, Any]) -> dict[str, Any]:
    """Share of the oracle's gain that SBP reaches; its error by linearization over test sequences."""
    loss = {arm: arms[arm]["test_loss"] for arm in ARMS}
    accuracy = {arm: arms[arm]["choice_accuracy"] for arm in ARMS}
    lead = comparison(evaluations["baseline"], evaluations["oracle"]) or {}
    value, reason = gap_closed(loss, lower_is_better=True, what="test loss", noise=lead.get("test_loss_stderr"))
    stderr = None
    if value is not None:
        nats = {arm: _nats(evaluations[arm]) for arm in ARMS}
        stderr = ratio_stderr(nats["baseline"] - nats["sbp"], nats["baseline"] - nats["oracle"])
    value_accuracy, reason_accuracy = gap_closed(
        accuracy, lower_is_better=False, what="choice accuracy", noise=lead.get("choice_stderr")
    )
    return {
        "gap_closed": value,
        "gap_closed_stderr": stderr,
        "gap_closed_reason": reason,
        "gap_closed_accuracy": value_accuracy,
        "gap_closed_accuracy_reason": reason_accuracy,
    }


def gap_closed(
    values: dict[str, float | None], *, lower_is_better: bool, what: str, noise: float | None = None
) -> tuple[float | None, str | None]:
    """(baseline - sbp) / (baseline - oracle): 1 when SBP reaches the oracle, 0 when it gains nothing, below 0 when it
    loses.

    Args:
        values: by arm.
        lower_is_better: whether lower values are better.
        what: what the values are, for the reason.
        noise: standard error of the oracle's gain; below two of them there is nothing to take a share of.

    Returns:
        The share and None, or None and the reason when there is no gain of the oracle to share in.
    """
    missing = [arm for arm in ARMS if values[arm] is None]
    if missing:
        return None, f"no {what} of {', '.join(missing)}"
    baseline, sbp, oracle = (float(values[arm]) for arm in ARMS)  # type: ignore[arg-type]
    gain = baseline - oracle if lower_is_better else oracle - baseline
    if gain <= 0:
        return None, f"the oracle is not ahead of the baseline: {what} {oracle:.4f} against {baseline:.4f}"
    if noise is not None and gain < 2 * noise:
        return None, f"the oracle's gain in {what}, {gain:.4f}, is within its noise (standard error {noise:.4f})"
    return (baseline - sbp if lower_is_better else sbp - baseline) / gain, None
