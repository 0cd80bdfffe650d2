"""Where models and figures are."""

from __future__ import annotations

import pytest
from support.small_recipe import small_recipe

from megatron_sbp.recipe import Documents
from megatron_sbp.stages.placed import Scope
from megatron_sbp.stages.run_folder import Run


@pytest.fixture
def run(tmp_path) -> Run:
    return Run(small_recipe(tmp_path, Documents(inputs=["*.jsonl"], train=10, valid=2, test=2)), tmp_path)


def test_places_on_disk(run):
    """Run folders that exist have these."""
    assert [path.relative_to(run.root).as_posix() for path in (
        run.model("sbp"), run.export("sbp"), run.evaluation("quality"), run.harness("sbp"),
        run.finding("quality", "real-00000-00003"), run.chosen_texts("quality"), run.task_items, run.results_file,
        run.report_file,
    )] == [
        "models/sbp", "export/sbp", "evaluation/quality.json", "harness/sbp.json",
        "synthetic/corpus_findings/quality/real-00000-00003.npz",
        "synthetic/corpus_findings/quality/chosen/texts.jsonl.zst", "evaluation_items/tasks.jsonl.zst", "results.json",
        "report/index.html",
    ]  # fmt: skip


def test_answers_are_nobodys(run):
    """They cost money: a view that replaces the sheet, and another synthesizer, do not hide them."""
    view = run.view(run.work_folder("measure", "0123"), ("evaluation", "answers"))
    assert view.answers("quality") == run.answers("quality") == run.root / "answers/evaluation.quality.answers.jsonl"
    scoped = run.scoped(run.recipe, (Scope("synthesizers/random", ("evaluation",)),))
    assert scoped.answers("quality").name == "synthesizers.random.evaluation.quality.answers.jsonl"
