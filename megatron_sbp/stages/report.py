"""`sbp report`: results.json and report/index.html."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.checkpoint.model_folder import CONSUMED, METRICS, STARTED_FROM
from megatron_sbp.report.sources import ReportSources, SynthesizerSources, Trained
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.scopes import replicate_run, suffix, synthesizer_run
from megatron_sbp.stages.stage import Stage


class ReportStage(Stage):
    """Collects the results, checks them against the plan, and writes the page.

    Args:
        stages: names of the recipe's other stages, whose time is shown; None shows that of all in the run folder.
    """

    name = "report"
    title = "write results.json and report/index.html, checked against the plan; print a summary"
    version = 7

    def __init__(self, stages: Collection[str] | None = None):
        self._stages = stages

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        found = {
            "documents": (usual.AUDIT_DOCUMENTS, usual.documents("train")),
            "tokenizer": (usual.inside(usual.TOKENIZER),),
            "tokenize": (usual.audit_tokens("audit"),),
            "neighbors": (usual.AUDIT_NEIGHBORS,),
        }
        for replicate in range(1, run.recipe.replicates + 1):
            inner, end = replicate_run(run, replicate), suffix(replicate=replicate)
            for arm in run.recipe.arms:
                found[f"train-{arm}{end}"] = (
                    inner.named(usual.consumed(arm)),
                    inner.named(usual.metrics(arm)),
                )
            found[f"evaluate{end}"] = (inner.named(usual.inside(usual.EVALUATIONS)),)
            if run.recipe.evaluation.harness.tasks:
                found[f"harness{end}"] = (inner.named(usual.inside(usual.HARNESS)),)
        for name in run.recipe.used_synthesizers:
            inner, end = synthesizer_run(run, name), suffix(name)
            tuned = name in run.recipe.tuned_synthesizers
            for stage, written in {**(_OF_TUNED if tuned else {}), **_OF_SYNTHESIZER}.items():
                found[stage + end] = tuple(map(inner.named, written))
            for replicate in range(2, run.recipe.replicates + 1):  # curves and cost
                inner, end = synthesizer_run(replicate_run(run, replicate), name), suffix(name, replicate)
                if tuned:
                    found["tune" + end] = tuple(map(inner.named, _OF_TUNED["tune"]))
                found["filter" + end] = (inner.named(usual.AUDIT_SYNTHETIC),)
        return found

    def settings(self, run: Run) -> JsonObject:
        shown = run.recipe.to_dict()  # the page shows all of it
        del shown["run_folder"]  # set by `sbp status RUN`, not always by the recipe
        return {"recipe": shown}

    def owns(self, run: Run) -> tuple[str, ...]:
        return (usual.RESULTS, usual.REPORT)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.report.data import load_report_data
        from megatron_sbp.report.page import render
        from megatron_sbp.report.results import collect_results

        sources = report_sources(run, self._stages)
        results = collect_results(sources, run.recipe)
        page = render(load_report_data(sources, run.recipe, results))
        files.write_json(run.results_file, results)
        files.write_text(run.report_file, page)
        return [run.results_file, run.report_file]


_OF_TUNED = {
    "pairs": (usual.AUDIT_PAIRS,),
    "tokenize-pairs": (usual.audit_tokens("pairs_audit"),),
    "tune": usual.below(usual.model("synthesizer"), CONSUMED, METRICS, STARTED_FROM),
}
"""Inputs from every synthesizer that is tuned on pairs."""

_OF_SYNTHESIZER = {
    "filter": (usual.SYNTHETIC_FILES, usual.AUDIT_SYNTHETIC),
    "tokenize-synthetic": (usual.audit_tokens("synthetic_audit"),),
}
"""Inputs from every synthesizer."""


def report_sources(run: Run, stages: Collection[str] | None = None) -> ReportSources:
    """Where a run folder has the inputs of the report; its stages are those of the recipe, None for any."""
    runs = [replicate_run(run, number) for number in range(1, run.recipe.replicates + 1)]
    return ReportSources(
        documents_audit=run.audit_documents,
        tokens_audit=run.audit_tokens("audit"),
        neighbors_audit=run.audit_neighbors,
        replicates=[{arm: _trained(one, arm) for arm in run.recipe.arms} for one in runs],
        writers=[{name: _synthesizer_sources(run, one, name) for name in run.recipe.used_synthesizers} for one in runs],
        manifests=run.manifests,
        documents=run.document_shards("train"),
        stages=stages,
        tokenizer=run.tokenizer,
    )


def _trained(run: Run, arm: str) -> Trained:
    # Without tasks, figures of a former recipe do not belong to this run.
    harness = run.harness(arm) if run.recipe.evaluation.harness.tasks else None
    return Trained(run.model(arm), run.evaluation(arm), harness)


def _synthesizer_sources(run: Run, replicate: Run, name: str) -> SynthesizerSources:
    inner = synthesizer_run(replicate, name)
    return SynthesizerSources(
        pairs_audit=inner.audit_pairs,
        pair_tokens_audit=inner.audit_tokens("pairs_audit"),
        synthetic_audit=inner.audit_synthetic,
        synthetic_tokens_audit=inner.audit_tokens("synthetic_audit"),
        model=inner.model("synthesizer"),
        quality=run.evaluation("quality" + suffix(name)),
        reading=run.evaluation("reading" + suffix(name)),
        synthetic=inner.synthetic_shards(),
    )
