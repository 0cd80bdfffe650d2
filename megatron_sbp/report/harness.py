"""What lm-eval measured: figures of every arm, paired differences, and the share of the oracle's gain."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.recipe import Recipe
from megatron_sbp.report.comparisons import Strata, share_of_lead
from megatron_sbp.report.intervals import rate_interval, stratified_ratio

Measured = Sequence[Mapping[str, JsonObject | None]]
"""harness/ARM.json of every replicate, by arm."""

type Gained = Callable[[str, str], Strata | None]
"""What the first arm gained over the second in every document of a task or of several; None where it is not known."""


def harness_figures(measured: Measured, recipe: Recipe) -> JsonObject | None:
    """What results.json has as `harness`; None where no arm was measured.

    Returns:
        `lm_eval` (its version), `backend`, `precision`, `device`, `limit`;
        `tasks.TASK`: `metric` (the one that leads), `shots`, `samples`, `version`, `arms.ARM.METRIC` (value and stderr
        of the first replicate, and whether it is an accuracy), and of the leading metric what is said of the mean;
        `mean`, over the tasks (`tasks`) that lead with an accuracy, each with the same weight; None without any: `arms`
        (value, stderr, low and high, over all replicates), `comparisons.FIRST-SECOND` (difference, stderr, low, high;
        positive is better for the first; of a perplexity it is nats per word, byte, or target) and `gap_closed` as
        `comparisons.gap_figures` has it.

    Raises:
        InputError: arms have other tasks or documents, or `evaluation.harness.metrics` names what was not measured.
    """
    known = [(arm, found) for replicate in measured for arm, found in replicate.items() if found]
    if not known:
        return None
    first_arm, first = known[0]
    for arm, found in known:
        for name in {**first["tasks"], **found["tasks"]}:
            one, other = (entry["tasks"].get(name, {}).get("documents") for entry in (first, found))
            if one != other:
                raise InputError(
                    f"{first_arm} and {arm} were evaluated on different documents of {name}", key="evaluation.harness"
                )
    for name in recipe.evaluation.harness.metrics:
        if name not in first["tasks"]:
            key = "evaluation.harness.metrics"
            raise recipe.error(key, f"'{name}' was not measured, but {', '.join(first['tasks'])}")
    leads = {name: _lead(name, task, recipe) for name, task in first["tasks"].items()}
    tasks = {name: _task(name, metric, first["tasks"][name], measured) for name, metric in leads.items()}
    accuracies = [name for name, metric in leads.items() if _is_accuracy(first["tasks"][name]["metrics"][metric])]
    mean = None
    if accuracies:
        chosen = {name: leads[name] for name in accuracies}
        mean = {"tasks": accuracies, **_joint(chosen, measured, "the mean of the tasks", True)}
    about = ("lm_eval", "backend", "precision", "device", "limit")
    return {**{name: first[name] for name in about}, "tasks": tasks, "mean": mean}


def _lead(name: str, task: JsonObject, recipe: Recipe) -> str:
    metrics, key = task["metrics"], "evaluation.harness.metrics"
    chosen = recipe.evaluation.harness.metrics.get(name)
    if not metrics:
        raise InputError(f"lm-eval gave no figure of {name}", key="evaluation.harness.tasks")
    if chosen is not None and chosen not in metrics:
        raise recipe.error(key, f"{name} was not measured in '{chosen}', but in {', '.join(metrics)}")
    return chosen or next(iter(metrics))


def _is_accuracy(figures: JsonObject) -> bool:
    whole = figures["scale"] == "mean" and figures["counts"] is None and figures["higher_is_better"]
    return bool(whole and 0 <= figures["value"] <= 1)


def _task(name: str, metric: str, task: JsonObject, measured: Measured) -> JsonObject:
    def values(found: JsonObject | None) -> JsonObject | None:
        if not found:
            return None
        metrics = found["tasks"][name]["metrics"]
        return {
            key: {
                **{part: figures[part] for part in ("value", "stderr")},
                "accuracy": _is_accuracy(figures),
                **(_ends_of_rate(figures, task["samples"]) if _is_accuracy(figures) else {}),
            }
            for key, figures in metrics.items()
        }

    joint = _joint({name: metric}, measured, f"{name} ({metric})", _is_accuracy(task["metrics"][metric]))
    return {
        "metric": metric,
        "scale": task["metrics"][metric]["scale"],
        **{key: task[key] for key in ("shots", "samples", "version")},
        **joint,
        "over_replicates": joint["arms"] if len(measured) > 1 else None,
        "arms": {arm: values(found) for arm, found in measured[0].items()},
    }


def _ends_of_rate(figures: JsonObject, documents: int) -> JsonObject:
    low, high = rate_interval(figures["value"], figures["stderr"], documents) or (None, None)
    return {"low": low, "high": high}


def _joint(leads: Mapping[str, str], measured: Measured, what: str, rates: bool) -> JsonObject:
    """`arms`, `comparisons` and `gap_closed` of one task, or of the mean of several; whether they are rates."""
    arms = list(measured[0])
    ends, apart = ((0.0, 1.0), (-1.0, 1.0)) if rates else (None, None)

    def strata(arm: str) -> Strata | None:
        found = [_units(measured, arm, name, metric) for name, metric in leads.items()]
        return None if any(entry is None for entry in found) else [entry for entry in found if entry is not None]

    by_arm = {arm: strata(arm) for arm in arms}

    def gained(first: str, second: str) -> Strata | None:
        one, other = by_arm.get(first), by_arm.get(second)
        if one is None or other is None:
            return None
        return [(mine[0] - theirs[0], mine[1]) for mine, theirs in zip(one, other, strict=True)]

    values: JsonObject = dict.fromkeys(arms)
    for arm, found in by_arm.items():
        if found is not None:
            estimate = stratified_ratio(found, ends)
            values[arm] = {"value": estimate.value, **estimate.uncertainty()}
    comparisons: JsonObject = {}
    for first, second in itertools.permutations(arms, 2):
        difference = gained(first, second)
        estimate_ = None if difference is None else stratified_ratio(difference, apart)
        told = None if estimate_ is None else {"difference": estimate_.value, **estimate_.uncertainty()}
        comparisons[f"{first}-{second}"] = told
    return {"arms": values, "comparisons": comparisons, **_gap(gained, arms, what, apart)}


def _gap(gained: Gained, arms: Sequence[str], what: str, ends: tuple[float, float] | None) -> JsonObject:
    absent = [arm for arm in ("baseline", "sbp", "oracle") if arm not in arms]
    gain, lead = gained("sbp", "baseline"), gained("oracle", "baseline")
    share, reason = None, f"no arm {', '.join(absent)}"
    if not absent and (gain is None or lead is None):
        reason = f"not all of baseline, sbp and oracle were measured in {what} document by document"
    elif gain is not None and lead is not None:
        share, told = share_of_lead(gain, lead, what, ends)
        reason = told or ""
    parts = (("", "value"), ("_stderr", "stderr"), ("_low", "low"), ("_high", "high"))
    values = {f"gap_closed{end}": None if share is None else getattr(share, part) for end, part in parts}
    return {**values, "gap_closed_reason": reason or None}


def _units(measured: Measured, arm: str, task: str, metric: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Sums and counts of the documents in all replicates, so that more is better: float64 [replicates, documents]."""
    sums, counts = [], []
    for replicate in measured:
        found = replicate[arm]
        figures = None if not found else found["tasks"][task]["metrics"].get(metric)
        if figures is None or figures["sums"] is None:
            return None
        # Of perplexities and bits the sums are log-likelihoods: more is better, whatever is said of the figure.
        worse = figures["scale"] == "mean" and not figures["higher_is_better"]
        sums.append(np.array(figures["sums"], np.float64) * (-1.0 if worse else 1.0))
        counts.append(np.array(figures["counts"] or [1.0] * len(figures["sums"]), np.float64))
    return np.stack(sums), np.stack(counts)
