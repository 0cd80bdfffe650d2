"""The figures of arms as they are quoted: those of one training run, or their means over the replicates."""

from __future__ import annotations

from collections.abc import Mapping

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.report.arms import FIGURES

_ERRORS = {"choice_accuracy": "choice_stderr"}


def quoted(arms: Mapping[str, JsonObject]) -> dict[str, JsonObject]:
    """Arms with their means over replicates in place of the figures of the first.

    Args:
        arms: `arms` of results.json.

    Returns:
        The same keys. With several replicates `FIGURES` are means and their standard errors those over replicates, and
        both are None where a replicate has not been measured; with one, nothing is changed.
    """
    return {name: _quoted(arm) for name, arm in arms.items()}


def _quoted(arm: JsonObject) -> JsonObject:
    if "mean" not in arm:
        return arm
    changed = dict(arm)
    for figure in FIGURES:
        found = arm["mean"].get(figure, {})
        error = _ERRORS.get(figure, f"{figure}_stderr")
        changed |= {name: found.get(key) for name, key in ((figure, "mean"), (error, "stderr")) if name in arm}
    return changed
