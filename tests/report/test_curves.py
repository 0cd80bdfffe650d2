"""Curves of the page: recall and losses against tokens."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from made_up_run import made_up_run

from megatron_sbp.base import files
from megatron_sbp.report.curves import opening_section, training_section, tuning_section
from megatron_sbp.report.data import ReportData, load_report_data
from megatron_sbp.report.results import collect_results
from megatron_sbp.stages.report import report_sources
from megatron_sbp.stages.run_folder import Run


@pytest.fixture
def run(tmp_path) -> Run:
    return made_up_run(tmp_path)


def data_of(run: Run) -> ReportData:
    sources = report_sources(run)
    return load_report_data(sources, run.recipe, collect_results(sources, run.recipe))


def test_held_out_loss_opens_the_page_and_train_loss_comes_later(run):
    opening, training = opening_section(data_of(run)), training_section(data_of(run))
    assert opening.count("<svg") == training.count("<svg") == 1
    assert "held-out loss over training tokens" in opening and "training loss over training tokens" in training
    assert "recall" not in opening


def test_recall_against_tokens_is_the_first_picture(run):
    points = [{"tokens": 1000 * n, "recall": 0.1 * n, "stderr": 0.01, "by_documents": None} for n in (1, 2, 3)]
    for arm, last in (("baseline", 0.4), ("sbp", 0.7)):
        found = files.read_json(run.evaluation(arm))
        found["recall"] = {
            "recall": last, "stderr": 0.02, "chance": 0.05, "questions": 9, "by_tag": {}, "by_documents": None,
            "group_credits": [1.0], "group_questions": [9],
        }  # fmt: skip
        files.write_json(run.evaluation(arm), {**found, "recall_curve": points})
    data = data_of(run)
    curve = data.results["arms"]["sbp"]["recall_curve"]
    assert [point["tokens"] for point in curve[:3]] == [1000, 2000, 3000]
    assert curve[-1] == {"tokens": data.results["arms"]["sbp"]["planned_tokens"], "recall": 0.7, "stderr": 0.02}
    assert data.results["arms"]["oracle"]["recall_curve"] is None
    opening = opening_section(data)
    assert opening.index("closed-book recall over training tokens") < opening.index(
        "held-out loss over training tokens"
    )
    # Two arms were asked: in per cent, four points each.
    recall = opening[: opening.index("held-out loss over training tokens")]
    assert recall.count("<polyline") == 2 and recall.count("<circle") == 8 and "closed-book recall (per cent)" in recall


def test_the_tuning_tells_what_it_began_with(run):
    assert data_of(run).results["tuning"]["start"] is None and "It began" not in tuning_section(data_of(run))
    record = run.model("synthesizer") / "start.json"
    files.write_json(record, {"arm": "baseline", "iteration": 1200, "valid_loss": 3.25, "kept": True})
    assert "It began with the repetition baseline after 1,200 steps, held-out loss 3.2500." in tuning_section(
        data_of(run)
    )
    files.write_json(record, {"folder": "a<b", "architecture": "Qwen3ForCausalLM", "parameters": 1234567})
    assert "It began with 1,234,567 parameters of a&lt;b (Qwen3ForCausalLM)." in tuning_section(data_of(run))


def test_nothing_trained_yet(run):
    data = data_of(run)
    data.metrics = {}
    assert "Missing: held-out losses of the arms" in opening_section(data) and "<svg" not in training_section(data)
