"""results.json: every figure of a run in one place, collected from what the stages wrote and checked against the plan.

Reading and arithmetic only. A stage that has not run leaves null; a figure that contradicts the plan is an error.
"""

from __future__ import annotations

from megatron_sbp.base.environment import environment
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.checkpoint.model_folder import CONSUMED, STARTED_FROM
from megatron_sbp.pairing.neighbors.recall_figures import recall_above
from megatron_sbp.recipe import Recipe
from megatron_sbp.report.arms import check_equal_tokens, replicated_figures
from megatron_sbp.report.comparisons import all_comparisons, gap_figures
from megatron_sbp.report.harness import harness_figures
from megatron_sbp.report.sources import ReportSources, SynthesizerSources, read_if_present
from megatron_sbp.report.stage_costs import stage_costs


def collect_results(sources: ReportSources, recipe: Recipe) -> JsonObject:
    """Collects the results of a run.

    Args:
        sources: what the stages wrote.
        recipe: the recipe.

    Returns:
        JSON-able, without NaN:
        `arms.ARM` (tokens, epochs, losses, accuracy, recall, speed of the first replicate; null where nothing was
        measured; with several replicates also `replicates` and `mean`),
        `comparisons.FIRST-SECOND.FIGURE` (see `all_comparisons`),
        `gap_closed` = (baseline - sbp) / (baseline - oracle) on the test loss, null with `gap_closed_reason` when the
        interval of the oracle's gain over the baseline is not above zero; `gap_closed_accuracy` and
        `gap_closed_recall` likewise;
        `harness`: what lm-eval measured (`harness_figures`), null without tasks;
        `pairs`, `tuning`, `synthetic`, `quality` of the first synthesizer, and of the others in `synthesizers.NAME`;
        `stages.NAME` (`stage_costs`), `engines`, `environment`, `recipe`.

    Raises:
        InputError: an arm did not consume what was planned, or the arms differ in training tokens; names both values.
    """
    evaluations = [
        {arm: read_if_present(trained.evaluation) for arm, trained in replicate.items()}
        for replicate in sources.replicates
    ]
    arms = {arm: replicated_figures(sources.replicates, recipe, arm, evaluations) for arm in sources.arms}
    check_equal_tokens(sources.replicates)
    neighbors = read_if_present(sources.neighbors_audit) or {}
    synthesizers = {name: synthesizer_figures(found, neighbors) for name, found in sources.synthesizers.items()}
    nothing = dict.fromkeys(("pairs", "tuning", "synthetic", "quality"))
    first = synthesizers.pop(next(iter(synthesizers)), nothing) if synthesizers else nothing
    return {
        "name": recipe.name,
        "replicates": len(evaluations),
        "arms": arms,
        "comparisons": all_comparisons(evaluations),
        **gap_figures(evaluations),
        "harness": harness_figures(
            [
                {
                    arm: read_if_present(trained.harness) if trained.harness else None
                    for arm, trained in replicate.items()
                }
                for replicate in sources.replicates
            ],
            recipe,
        ),
        **first,
        "synthesizers": synthesizers,
        "stages": stage_costs(sources, recipe),
        "engines": _engines(sources, recipe, evaluations[0]),
        "environment": environment(),
        "recipe": recipe.to_dict(),
    }


def synthesizer_figures(sources: SynthesizerSources, neighbors: JsonObject) -> JsonObject:
    """`pairs`, `tuning`, `synthetic` and `quality` of one synthesizer; null where a stage has not run."""
    quality = read_if_present(sources.quality)
    return {
        "pairs": _pairs(sources, neighbors),
        "tuning": _tuning(sources),
        "synthetic": _synthetic(sources, quality),
        "quality": quality,
    }


def _pairs(sources: SynthesizerSources, neighbors: JsonObject) -> JsonObject | None:
    audit = read_if_present(sources.pairs_audit)
    if audit is None:
        return None
    return {
        **_without_histogram(audit["train"]),
        "recall_at_k": neighbors.get("recall_at_k"),
        "recall_sample": neighbors.get("recall_sample"),
        "recall_above_alpha": recall_above(neighbors.get("recall_by_similarity"), audit["train"].get("alpha")),
        "valid": _without_histogram(audit["valid"]),
    }


def _without_histogram(audit: JsonObject) -> JsonObject:
    return {key: value for key, value in audit.items() if key != "score_histogram"}


def _tuning(sources: SynthesizerSources) -> JsonObject | None:
    consumed = read_if_present(sources.model / CONSUMED)
    if consumed is None:
        return None
    names = (
        "iterations train_samples train_tokens seconds tokens_per_second stopped best_valid_loss valid_loss_before "
        "export_iteration"
    ).split()
    audit = read_if_present(sources.pair_tokens_audit) or {}
    reading = read_if_present(sources.reading)
    start = read_if_present(sources.model / STARTED_FROM)
    return {**{name: consumed.get(name) for name in names}, **audit, "reading": reading, "start": start}


def _synthetic(sources: SynthesizerSources, quality: JsonObject | None) -> JsonObject | None:
    audit = read_if_present(sources.synthetic_audit)
    if audit is None and quality is None:
        return None
    tokens = read_if_present(sources.synthetic_tokens_audit) or {}
    kept = quality["groups"]["synthetic"] if quality else {}
    generations = quality["groups"]["generations"] if quality else {}
    similarity = quality["similarity"] if quality else {}
    raw = similarity.get("generations", {})  # an earlier version did not measure them
    figures = ("repetition", "duplicate", "copying", "corpus_copying", "novel_ngrams")
    return {
        "documents": (audit or {}).get("kept", kept.get("population")),
        "tokens": tokens.get("tokens"),
        "dropped": (audit or {}).get("dropped"),
        **{name: kept.get(name) for name in figures},
        "similarity_to_seed": similarity.get("to_seed"),
        "similarity_random_pairs": similarity.get("random_pairs"),
        "before_filters": {
            "documents": generations.get("population"),
            **{name: generations.get(name) for name in figures},
            "similarity_to_seed": raw.get("to_seed"),
            "similarity_random_pairs": raw.get("random_pairs"),
        },
        "audit": audit,
    }


def _engines(sources: ReportSources, recipe: Recipe, evaluations: JsonObject) -> JsonObject:
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
    consumed = [read_if_present(trained.consumed) or {} for trained in sources.arms.values()]
    found = sorted({entry.get("precision", recipe.training.precision) for entry in consumed})
    return " and ".join(found)
