"""`sbp report`: results.json and report/index.html."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from megatron_sbp.base import files
from megatron_sbp.recipe.names import ARMS, MODELS
from megatron_sbp.report.sources import ReportSources
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage


class ReportStage(Stage):
    """Collects the results, checks them against the plan, and writes the page."""

    name = "report"
    title = "results.json and report/index.html, checked against the plan"

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        trainings = {"baseline": "train-baseline", "synthesizer": "tune", "sbp": "train-sbp", "oracle": "train-oracle"}
        return {
            "documents": ("documents/audit.json", "documents/train/*"),
            "tokenize": ("tokens/audit.json",),
            "neighbors": ("neighbors/audit.json",),
            "pairs": ("pairs/audit.json",),
            "tokenize-pairs": ("tokens/pairs_audit.json",),
            **{trainings[name]: (f"models/{name}/consumed.json", f"models/{name}/metrics.jsonl") for name in MODELS},
            "filter": ("synthetic/[0-9]*", "synthetic/audit.json"),
            "tokenize-synthetic": ("tokens/synthetic_audit.json",),
            "evaluate": ("evaluation/*",),
        }

    def settings(self, run: Run) -> dict[str, Any]:
        return {"recipe": run.recipe.to_dict()}  # the page shows all of it

    def owns(self, run: Run) -> tuple[str, ...]:
        return ("results.json", "report")

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.report.data import load_report_data
        from megatron_sbp.report.page import render
        from megatron_sbp.report.results import collect_results

        sources = report_sources(run)
        results = collect_results(sources, run.recipe)
        page = render(load_report_data(sources, run.recipe, results))
        files.write_json(run.results_file, results)
        files.write_text(run.report_file, page)
        return [run.results_file, run.report_file]


def report_sources(run: Run) -> ReportSources:
    """Where a run folder holds what the report is made of."""
    return ReportSources(
        documents_audit=run.audit_documents,
        tokens_audit=run.audit_tokens("audit"),
        neighbors_audit=run.audit_neighbors,
        pairs_audit=run.audit_pairs,
        pair_tokens_audit=run.audit_tokens("pairs_audit"),
        synthetic_audit=run.audit_synthetic,
        synthetic_tokens_audit=run.audit_tokens("synthetic_audit"),
        models={name: run.model(name) for name in MODELS},
        evaluations={name: run.evaluation(name) for name in (*ARMS, "quality", "reading")},
        manifests=run.manifests,
        documents=run.document_shards("train"),
        synthetic=run.synthetic_shards(),
    )
