"""The figures of an arm as they are quoted: those of its one training, or their means over its replicates."""

from __future__ import annotations

from typing import Any

_ERRORS = {"choice_accuracy": "choice_stderr"}


def quoted(arm: dict[str, Any]) -> dict[str, Any]:
    """An arm with its means over replicates in place of the figures of the first.

    Args:
        arm: `arms.ARM` of results.json.

    Returns:
        The same keys; `test_loss`, `recall`, and the others in `mean` are means, and their standard errors those over
        replicates. With one replicate the figures are unchanged.
    """
    changed = dict(arm)
    for figure, found in arm.get("mean", {}).items():
        changed[figure] = found["mean"]
        error = _ERRORS.get(figure, f"{figure}_stderr")
        if error in arm:
            changed[error] = found["stderr"]
    return changed
