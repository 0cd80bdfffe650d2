"""Warnings about a plan, as far as the recipe and the arithmetic show."""

from __future__ import annotations

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.planning.job_warnings import job_warnings
from megatron_sbp.planning.numbers import format_count
from megatron_sbp.recipe import Recipe


def plan_warnings(recipe: Recipe, plan: JsonObject, others: list[str]) -> list[str]:
    """One sentence per warning.

    Args:
        recipe: the recipe.
        plan: its plan, all but the warnings.
        others: measurements in the run folder that belong to another recipe.
    """
    found = []
    if others:
        found.append(
            f"not used, since other settings or inputs made them (or inputs changed since): {', '.join(others)}"
        )
    for arm, figures in plan["arms"].items():
        found += _about(arm, figures)
    found += _splits(recipe, plan)
    optimizer = str(recipe.training.megatron.get("optimizer", "adam"))
    if optimizer == "adam" and recipe.training.learning_rate >= 5e-3:
        found.append(
            f"training.learning_rate {recipe.training.learning_rate:g} is too high for AdamW: the paper's 1e-2 belongs "
            "to an optimizer with scaled updates"
        )
    if recipe.launch.context_parallel > 1 and recipe.tuned_synthesizers:
        found.append("launch.context_parallel: the tuning will be refused, since it would cut packed pairs apart")
    found += job_warnings(recipe, plan)
    return found


def _splits(recipe: Recipe, plan: JsonObject) -> list[str]:
    found, documents = [], recipe.documents
    corpus = plan["sample"] and plan["sample"]["corpus"]
    needed = documents.train + (documents.oracle or 0) + documents.valid + documents.test
    if corpus and needed > corpus:
        found.append(f"documents: the run will be refused: its splits take {needed:,}, and the corpus has {corpus:,}")
    of_oracle = [arm for arm, figures in plan["arms"].items() if "oracle" in figures["datasets"]]
    unique = {name: entry["documents"] for name, entry in plan["unique_tokens"].items()}
    if of_oracle and unique["oracle"] == unique["real"]:
        found.append(
            f"{', '.join(of_oracle)}: no documents are left beside D ({unique['real']:,}), valid and test: "
            "it reads what the baseline reads"
        )
    return found


def _about(arm: str, figures: JsonObject) -> list[str]:
    found = []
    if "oracle" in figures["datasets"]:
        if figures["real_epochs"] is None:
            found.append(
                f"{arm}: its unique tokens are unknown (documents.oracle is null: all documents that are left); "
                "if they are fewer than its budget, it repeats them"
            )
        elif figures["real_epochs"] > 1:
            found.append(
                f"{arm}: {format_count(figures['datasets']['oracle']['unique_tokens'])} unique tokens for a budget of "
                f"{format_count(figures['train_tokens'])}: it repeats them {figures['real_epochs']:.2f} times and is "
                "no true oracle"
            )
    elif arm == "baseline" and figures["real_epochs"] < 1:
        found.append(
            f"baseline: {figures['real_epochs']:.2f} epochs of D: nothing is repeated, so there is nothing to compare"
        )
    if figures["synthetic_share"] > 0.5:
        found.append(f"{arm}: {100 * figures['synthetic_share']:.1f} % of its tokens are synthetic, more than half")
    return found
