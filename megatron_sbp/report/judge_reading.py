"""Sentences on whether a judge can be trusted: its agreement with cases with known answers."""

from __future__ import annotations

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.evaluation.opinions import OPINIONS
from megatron_sbp.report.numbers import fixed, percent

POOR = 0.6
"""Cohen's kappa below this is moderate agreement at best (Landis and Koch 1977)."""

_ABOUT = {"factual": "factuality", "relevant": "relevance to the seed"}


def agrees_poorly(judge: JsonObject | None) -> list[str]:
    """The opinions, of `factual` and `relevant`, in which the judge was shown to agree poorly with the truth: its kappa
    is below `POOR` or undefined, or it decided less than half of the cases. Empty where nothing was measured."""
    measured = (judge or {}).get("agreement") or {}
    return [name for name in OPINIONS if name in measured and _poor(measured[name])]


def _poor(found: JsonObject) -> bool:
    kappa = found["kappa"]["value"]
    return kappa is None or kappa < POOR or 2 * found["no_opinion"] > found["known"]


def agreement_sentence(judge: JsonObject | None) -> str | None:
    """How well the judge agrees with the shipped cases; None where that was not measured."""
    measured = (judge or {}).get("agreement")
    if not measured:
        return None
    told = "; ".join(f"{_ABOUT[name]} {_told(measured[name])}" for name in OPINIONS)
    malformed = f"{measured['malformed']} malformed answers" if measured["malformed"] else "no malformed answer"
    sentence = f"The judge's right answers about {measured['cases']} cases whose truth is known: {told}; {malformed}."
    poor = agrees_poorly(judge)
    if not poor:
        return sentence
    about = " and ".join(_ABOUT[name] for name in poor)
    return f"{sentence} That is poor agreement about {about} (kappa below {POOR}): do not rely on those figures."


def _told(found: JsonObject) -> str:
    decided = found["known"] - found["no_opinion"]
    if not decided:
        return f"none of {found['known']} (no opinion)"
    accuracy, kappa = found["accuracy"], found["kappa"]
    right = round(accuracy["value"] * decided)
    ends = f"95\u00a0% interval {percent(accuracy['low'])} to {percent(accuracy['high'])}"
    said = f"{right} of {decided} ({percent(accuracy['value'])}, {ends}; kappa {fixed(kappa['value'], 2)}"
    said += "" if kappa["value"] is None else f", {fixed(kappa['low'], 2)} to {fixed(kappa['high'], 2)}"
    return f"{said})" + (f", no opinion about {found['no_opinion']}" if found["no_opinion"] else "")
