"""Curves of the page: recall and losses against tokens."""

from __future__ import annotations

import pytest
from support.charts import charts_of
from support.made_up_run import made_up_run, with_a_control

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
    (held_out,), (trained,) = charts_of(opening), charts_of(training)
    assert held_out.title == "held-out loss over training tokens" and held_out.data[0]["mode"] == "lines+markers"
    assert trained.title == "training loss over training tokens" and trained.data[0]["mode"] == "lines"
    assert held_out.names == trained.names == ["repetition baseline", "SBP", "oracle"]
    rows = [row for row in data_of(run).metrics["sbp"][0] if row["kind"] == "valid"]
    sbp = held_out.trace("SBP")
    assert (sbp["x"], sbp["y"]) == ([row["tokens"] for row in rows], [row["loss"] for row in rows])
    assert held_out.layout["yaxis"]["range"][1] < max(sbp["y"])  # the steep start is cut off
    assert held_out.layout["yaxis"]["title"]["text"] == "held-out loss (nats per token)"
    assert "recall" not in opening
    data = data_of(run)
    for replicates in data.metrics.values():
        replicates[:] = [[row for row in rows if row["tokens"]] for rows in replicates]
    for written, late in ((opening, opening_section(data)), (training, training_section(data))):
        told = "A steep start is cut off at the top"
        assert told in written and (told in late) == (written is training)


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
    recall, losses = charts_of(opening_section(data))
    assert (recall.title, losses.title) == (
        "closed-book recall over training tokens",
        "held-out loss over training tokens",
    )
    # Two arms were asked: in percent, four points each.
    assert recall.names == ["repetition baseline", "SBP"] and recall.trace("SBP")["mode"] == "lines+markers"
    assert recall.trace("SBP")["y"] == pytest.approx([10, 20, 30, 70])
    assert recall.layout["yaxis"]["title"]["text"] == "closed-book recall (percent)"


def test_the_chosen_checkpoint_of_the_tuning_is_ringed(run):
    held_out, trained = charts_of(tuning_section(data_of(run)))
    ring = held_out.trace("chosen: 3.4100")
    assert (ring["x"], ring["y"]) == ([60], [3.41])
    assert held_out.trace("synthesizer, pairs of the valid split")["x"] == [0, 20, 40, 60, 80, 100]
    assert trained.names == ["synthesizer, training pairs"] and len(trained.data[0]["x"]) == 100


def test_a_long_run_is_thinned_to_means(run):
    data = data_of(run)
    data.metrics["sbp"] = [[{"kind": "train", "tokens": 2 * n, "loss": float(n % 2)} for n in range(1000)]]
    (found,) = charts_of(training_section(data))
    sbp = found.trace("SBP")
    assert len(sbp["x"]) == 334 and sbp["x"][0] == 2 and sbp["y"][:2] == [0.333333, 0.666667]


def test_the_tuning_tells_what_it_began_with(run):
    assert data_of(run).results["tuning"]["start"] is None and "It began" not in tuning_section(data_of(run))
    record = run.model("synthesizer") / "start.json"
    files.write_json(record, {"arm": "baseline", "iteration": 1200, "valid_loss": 3.25, "kept": True})
    assert "It started from the repetition baseline after 1,200 steps, held-out loss 3.2500." in tuning_section(
        data_of(run)
    )
    files.write_json(record, {"folder": "a<b", "architecture": "Qwen3ForCausalLM", "parameters": 1234567})
    assert "It started from 1,234,567 parameters of a&lt;b (Qwen3ForCausalLM)." in tuning_section(data_of(run))


def test_nothing_trained_yet(run):
    data = data_of(run)
    data.metrics = {}
    assert "Missing: held-out losses of the arms" in opening_section(data) and not charts_of(training_section(data))


def test_every_replicate_is_drawn_thinly_under_one_entry_of_the_legend(run):
    data = data_of(with_a_control(run))
    losses = next(chart for chart in charts_of(opening_section(data)) if chart.title.startswith("held-out loss"))
    assert losses.names == [label for label in ("repetition baseline", "SBP", "oracle", "control") for _ in range(2)]
    one, other = (trace for trace in losses.data if trace["name"] == "SBP")
    assert one["line"] == other["line"] and one["line"]["width"] < 2
    assert one["legendgroup"] == other["legendgroup"] == "SBP" and one["showlegend"] and not other["showlegend"]
    assert "SBP, replicate 1" in one["hovertemplate"] and "SBP, replicate 2" in other["hovertemplate"]
    assert "2 replicates of every arm" in opening_section(data)
    (trained,) = charts_of(training_section(data))
    one, other = (trace for trace in trained.data if trace["name"] == "SBP")
    assert len(trained.data) == 8 and one["y"] != other["y"]
    tunings = charts_of(tuning_section(data))
    assert [len(chart.data) for chart in tunings] == [3, 2, 3, 2]  # of two synthesizers, the chosen one ringed


def test_long_runs_of_several_replicates_stay_small(run):
    data = data_of(run)
    rows = [{"kind": "train", "tokens": n, "loss": float(n)} for n in range(10_000)]
    data.metrics = {"sbp": [rows] * 8}
    (found,) = charts_of(training_section(data))
    assert len(found.data) == 8 and all(len(trace["x"]) == 100 for trace in found.data)


def test_recall_of_every_replicate_is_drawn(run):
    data = data_of(run)
    curve = [{"tokens": 10, "recall": 0.1}, {"tokens": 20, "recall": 0.2}]
    data.results["arms"]["sbp"]["replicates"] = [{"recall_curve": curve}, {"recall_curve": curve[:1]}]
    recall = charts_of(opening_section(data))[0]
    assert [trace["y"] for trace in recall.data] == [[10.0, 20.0], [10.0]] and recall.names == ["SBP", "SBP"]
