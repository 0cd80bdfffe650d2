"""Everything that the page shows, read from the run folder; what is missing is None or empty."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from megatron_sbp.recipe import Recipe, dump_recipe
from megatron_sbp.report.examples import Example, draw_examples
from megatron_sbp.report.sources import ReportSources, read_if_present
from megatron_sbp.training.metrics import read_metrics


@dataclass
class ReportData:
    """What the page is made of."""

    recipe: Recipe
    results: dict[str, Any]
    metrics: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Rows of metrics.jsonl by model: kind, iteration, tokens, loss."""
    documents: dict[str, Any] | None = None
    """documents/audit.json."""
    tokens: dict[str, Any] | None = None
    """tokens/audit.json."""
    pairs: dict[str, Any] | None = None
    """pairs/audit.json."""
    synthetic: dict[str, Any] | None = None
    """synthetic/audit.json."""
    examples: list[Example] = field(default_factory=list)

    @property
    def recipe_text(self) -> str:
        """The resolved recipe as YAML."""
        return dump_recipe(self.recipe)


def load_report_data(sources: ReportSources, recipe: Recipe, results: dict[str, Any]) -> ReportData:
    """Reads what exists.

    Args:
        sources: what the stages wrote.
        recipe: the recipe.
        results: what `collect_results` returned.
    """
    kept = (results["synthetic"] or {}).get("documents")
    first = sources.synthesizer
    metrics = {arm: _drawn(trained.metrics) for arm, trained in sources.arms.items()}
    if first is not None:
        metrics["synthesizer"] = _drawn(first.model / "metrics.jsonl")
    return ReportData(
        recipe=recipe,
        results=results,
        metrics=metrics,
        documents=read_if_present(sources.documents_audit),
        tokens=read_if_present(sources.tokens_audit),
        pairs=read_if_present(first.pairs_audit) if first else None,
        synthetic=read_if_present(first.synthetic_audit) if first else None,
        examples=draw_examples(first.synthetic, sources.documents, kept, recipe.seed) if kept and first else [],
    )


def _drawn(file: Path) -> list[dict[str, Any]]:
    """What the charts show of the rows of a training; all of millions, of every arm, would take the memory."""
    return [{name: row[name] for name in ("kind", "iteration", "tokens", "loss")} for row in read_metrics(file)]
