"""The last stage: results.json and report/index.html."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from megatron_sbp.base import files
from megatron_sbp.stages.run_folder import MODELS, Run
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

        results = collect_results(run)
        page = render(load_report_data(run, results))
        files.write_json(run.results_file, results)
        files.write_text(run.report_file, page)
        return [run.results_file, run.report_file]
