"""What the sentences of a verdict read of results.json."""

from __future__ import annotations

from typing import Any

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
