"""Early stopping of tuning, after several evaluations without a better validation loss."""

from __future__ import annotations

import math

from megatron_sbp.base.untyped import JsonObject

END_OF_PLAN = "end of the plan"
"""Stop reason of a training run that consumed the whole plan."""


def reason(patience: int) -> str:
    """Stop reason of a tuning that stopped early."""
    return f"no better validation loss in {patience} evaluations"


def best(rows: list[JsonObject]) -> JsonObject:
    """The validation row with the lowest loss after at least one step (the earliest of equals).

    Args:
        rows: rows of metrics.jsonl.
    """
    return min((row for row in rows if row["kind"] == "valid" and row["iteration"] > 0), key=_loss)


def exhausted(rows: list[JsonObject], patience: int) -> bool:
    """Whether the last `patience` evaluations were all worse than the best one before them.

    The evaluation before the first step counts.
    """
    losses = [_loss(row) for row in rows if row["kind"] == "valid"]
    if len(losses) <= patience:
        return False
    return min(losses[-patience:]) >= min(losses[:-patience])


def _loss(row: JsonObject) -> float:
    """NaN is worse than any number."""
    return math.inf if math.isnan(row["loss"]) else float(row["loss"])
