"""results.json: every figure of a run in one place, collected from what the stages wrote and checked against the plan.

Reading and arithmetic only. A stage that has not run leaves null; a figure that contradicts the plan is an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from megatron_sbp.base import files
from megatron_sbp.base.environment import environment
from megatron_sbp.recipe import Recipe
from megatron_sbp.recipe.names import ARMS
from megatron_sbp.report.arms import arm_figures, check_equal_tokens
from megatron_sbp.report.comparisons import PAIRED, comparison, gap_figures
from megatron_sbp.report.sources import ReportSources, read_if_present


def collect_results(sources: ReportSources, recipe: Recipe) -> dict[str, Any]:
    """Collects the results of a run.

    Args:
        sources: what the stages wrote.
        recipe: the recipe.

    Returns:
        JSON-able, without NaN:
        `arms.{baseline,sbp,oracle}` (tokens, epochs, losses, accuracy, speed; null where nothing was measured),
        `comparisons` (differences between arms with paired standard errors),
        `gap_closed` = (baseline - sbp) / (baseline - oracle) on the test loss, null with `gap_closed_reason` when the
        oracle is not ahead of the baseline by two standard errors; `gap_closed_accuracy` the same on the accuracy;
        `pairs`, `tuning`, `synthetic`, `stages.<name>.seconds`, `engines`, `environment`, `recipe`.

    Raises:
        InputError: an arm consumed something else than planned, or the arms differ in training tokens; names both
            values.
    """
    evaluations = {arm: read_if_present(sources.evaluations[arm]) for arm in ARMS}
    arms = {arm: arm_figures(sources, recipe, arm, evaluations[arm]) for arm in ARMS}
    check_equal_tokens(sources, arms)
    comparisons = {f"{first}-{second}": comparison(evaluations[first], evaluations[second]) for first, second in PAIRED}
    results: dict[str, Any] = {
        "name": recipe.name,
        "arms": arms,
        "comparisons": comparisons,
        **gap_figures(evaluations, arms),
        "pairs": _pairs(sources),
        "tuning": _tuning(sources),
        "synthetic": _synthetic(sources),
        "quality": read_if_present(sources.evaluations["quality"]),
        "stages": stage_seconds(sources.manifests),
        "engines": _engines(sources, recipe, evaluations),
        "environment": environment(),
        "recipe": recipe.to_dict(),
    }
    return results


def _pairs(sources: ReportSources) -> dict[str, Any] | None:
    audit = read_if_present(sources.pairs_audit)
    if audit is None:
        return None
    neighbors = read_if_present(sources.neighbors_audit) or {}
    return {
        **_without_histogram(audit["train"]),
        "recall_at_k": neighbors.get("recall_at_k"),
        "recall_sample": neighbors.get("recall_sample"),
        "valid": _without_histogram(audit["valid"]),
    }


def _without_histogram(audit: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in audit.items() if key != "score_histogram"}


def _tuning(sources: ReportSources) -> dict[str, Any] | None:
    consumed = read_if_present(sources.consumed("synthesizer"))
    if consumed is None:
        return None
    names = (
        "iterations train_samples train_tokens seconds tokens_per_second stopped best_valid_loss valid_loss_before "
        "export_iteration"
    ).split()
    audit = read_if_present(sources.pair_tokens_audit) or {}
    reading = read_if_present(sources.evaluations["reading"])
    return {**{name: consumed.get(name) for name in names}, **audit, "reading": reading}


def _synthetic(sources: ReportSources) -> dict[str, Any] | None:
    audit = read_if_present(sources.synthetic_audit)
    quality = read_if_present(sources.evaluations["quality"])
    if audit is None and quality is None:
        return None
    tokens = read_if_present(sources.synthetic_tokens_audit) or {}
    kept = quality["groups"]["synthetic"] if quality else {}
    drafts = quality["groups"]["drafts"] if quality else {}
    similarity = quality["similarity"] if quality else {}
    figures = ("repetition", "duplicate", "copying", "corpus_copying", "novel_ngrams")
    return {
        "documents": (audit or {}).get("kept", kept.get("population")),
        "tokens": tokens.get("tokens"),
        "dropped": (audit or {}).get("dropped"),
        **{name: kept.get(name) for name in figures},
        "similarity_to_seed": similarity.get("to_seed"),
        "similarity_random_pairs": similarity.get("random_pairs"),
        "before_filters": {"documents": drafts.get("population"), **{name: drafts.get(name) for name in figures}},
        "audit": audit,
    }


def stage_seconds(manifests: Path) -> dict[str, dict[str, Any]]:
    """Seconds of every finished stage, in the order in which they began."""
    found = []
    for file in manifests.glob("*.json"):
        manifest = files.read_json(file)
        if "seconds" in manifest and "stage" in manifest:
            found.append((manifest.get("started", 0.0), manifest["stage"], manifest))
    return {
        name: {"seconds": manifest["seconds"], "units": manifest.get("units")}
        for _, name, manifest in sorted(found, key=lambda entry: entry[:2])
    }


def _engines(sources: ReportSources, recipe: Recipe, evaluations: dict[str, Any]) -> dict[str, Any]:
    devices = sorted({evaluation["device"] for evaluation in evaluations.values() if evaluation})
    return {
        "training": "megatron-core",
        "training_precision": _precision(sources, recipe),
        "embedding": recipe.embedding.model,
        "neighbors": recipe.neighbors.engine,
        "synthesis": recipe.synthesis.engine,
        "evaluation": f"transformers, fp32, {', '.join(devices)}" if devices else None,
    }


def _precision(sources: ReportSources, recipe: Recipe) -> str:
    """What the arms were trained in: not always what the recipe says today."""
    consumed = [read_if_present(sources.consumed(arm)) or {} for arm in ARMS]
    found = sorted({entry.get("precision", recipe.training.precision) for entry in consumed})
    return " and ".join(found)
