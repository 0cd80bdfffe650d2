"""When to stop tuning: the validation loss has not improved for a number of evaluations."""

from __future__ import annotations

import math

from megatron_sbp.base.untyped import JsonObject

END_OF_PLAN = "end of the plan"
"""Why a training stopped that consumed the whole plan."""


def reason(patience: int) -> str:
    """Why a tuning stopped early, in words."""
    return f"no better validation loss in {patience} evaluations"


def best(rows: list[JsonObject]) -> JsonObject:
    """The validation row with the lowest loss after at least one step (the earliest of equals).

    Args:
        rows: rows of metrics.jsonl.
    """
    return min((row for row in rows if row["kind"] == "valid" and row["iteration"] > 0), key=_loss)


def exhausted(rows: list[JsonObject], patience: int) -> bool:
    """Whether the last `patience` evaluations were all worse than the best one before them.

    The evaluation before the first step counts as one to beat.
    """
    losses = [_loss(row) for row in rows if row["kind"] == "valid"]
    if len(losses) <= patience:
        return False
    return min(losses[-patience:]) >= min(losses[:-patience])


def _loss(row: JsonObject) -> float:
    """One that is not a number is worse than any."""
    return math.inf if math.isnan(row["loss"]) else float(row["loss"])
