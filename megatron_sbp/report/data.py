"""Everything that the page shows, read from the run folder; what is not there is None or empty."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from megatron_sbp.base import files
from megatron_sbp.recipe import Recipe, dump_recipe
from megatron_sbp.report.examples import Example, draw_examples
from megatron_sbp.stages.run_folder import MODELS, Run
from megatron_sbp.training.metrics import read_metrics


@dataclass
class ReportData:
    """What the page is made of."""

    recipe: Recipe
    results: dict[str, Any]
    metrics: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Rows of metrics.jsonl by model."""
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


def load_report_data(run: Run, results: dict[str, Any]) -> ReportData:
    """Reads what is there.

    Args:
        run: the run.
        results: what `collect_results` gave.
    """

    def read(path) -> Any:
        return files.read_json(path) if path.exists() else None

    synthetic = results["synthetic"] or {}
    return ReportData(
        recipe=run.recipe,
        results=results,
        metrics={name: read_metrics(run.model(name) / "metrics.jsonl") for name in MODELS},
        documents=read(run.audit_documents),
        tokens=read(run.tokens("audit").with_suffix(".json")),
        pairs=read(run.audit_pairs),
        synthetic=read(run.audit_synthetic),
        examples=draw_examples(run, synthetic["documents"]) if synthetic.get("documents") else [],
    )
