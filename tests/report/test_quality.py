"""The quality sheet on the page."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from support.charts import chart_of
from support.made_up_run import made_up_run

from megatron_sbp.report.data import ReportData, load_report_data
from megatron_sbp.report.quality import quality_section
from megatron_sbp.report.results import collect_results
from megatron_sbp.report.text import format_results
from megatron_sbp.report.verdict import verdict
from megatron_sbp.stages.report import report_sources


@pytest.fixture
def data(tmp_path) -> ReportData:
    run = made_up_run(tmp_path)
    return load_report_data(report_sources(run), run.recipe, collect_results(report_sources(run), run.recipe))


def test_text_that_ignores_its_seed_is_called_that(data):
    page = quality_section(data)
    assert "The synthetic text is nearer to its own seed document than to another" in page
    similarity = data.results["quality"]["similarity"]
    similarity |= {"to_seed": 0.214, "random_pairs": 0.207, "seed_gain": 0.007, "reads_seed": False}
    similarity["intervals"]["seed_gain"] = [-0.004, 0.018]
    told = (
        "The synthetic text ignores its seed document: its mean cosine to it is 0.214, to another seed document 0.207 "
        "(+0.007, 95 % interval −0.004 to +0.018)."
    )
    assert told in quality_section(data).replace("\u00a0", " ") and told in verdict(data.results)
    assert "to another 0.280: the text ignores its seed" in format_results(data.results)


def test_similarity_of_raw_generations_is_told_beside_that_of_the_kept_texts(data):
    page = quality_section(data)
    for label, cell in (
        ("synthetic document and its seed document", "0.610 [0.580, 0.640]"),
        ("raw generation and its seed document", "0.630 [0.600, 0.660]"),
        ("raw generation and another seed document", "0.290 [0.260, 0.320]"),
    ):
        assert f'<th scope="row">{label}</th><td>{cell}</td>' in page


def test_novel_ngrams_are_drawn_in_per_cent(data):
    found = chart_of(quality_section(data))
    assert found.title == "novel word n-grams by n"
    assert found.names == ["kept by the filters", "real text", "raw generations"]
    real = found.trace("real text")
    assert real["x"] == list(range(1, 14)) and real["y"][0] == pytest.approx(27) and real["mode"] == "lines+markers"
    assert real["line"]["color"] == "var(--baseline)"


def test_a_judge_of_any_kind_is_named(data):
    assert "The judge is " in quality_section(data) and "sha256" in quality_section(data)
    endpoint = {"model": "big-1", "base_url": "http://localhost:8000/v1", "prompt": "0123456789abcdef"}
    data.results["quality"]["judge"] = endpoint
    assert "The judge is the model big-1 at http://localhost:8000/v1 (prompt 0123456789ab)." in quality_section(data)


def test_a_judge_that_agrees_poorly_with_a_known_truth_is_called_that_on_the_page(data):
    assert "whose truth is known" not in quality_section(data)
    truth = {"value": 0.9, "low": 0.8, "high": 0.96}
    known = {"known": 40, "no_opinion": 0, "accuracy": truth, "kappa": truth}
    judge = {"model": "big-1", "base_url": "http://localhost:8000/v1", "prompt": "0123456789abcdef"}
    judge["agreement"] = {"cases": 60, "malformed": 0, "factual": known, "relevant": {**known, "known": 60}}
    data.results["quality"]["judge"] = judge
    assert '<p class="soft">The judge&#x27;s right answers about 60 cases' in quality_section(data)
    judge["agreement"]["relevant"]["kappa"] = {"value": 0.2, "low": 0.1, "high": 0.3}
    page = quality_section(data)
    assert '<p class="note">The judge&#x27;s right answers about 60 cases' in page
    assert "That is poor agreement about relevance to the seed (kappa below 0.6): do not rely on those figures" in page


def test_the_real_text_of_the_judge_is_pairs_where_there_are_pairs(data):
    assert "Its real text is the pairs of real documents that the synthesizer was tuned on." in quality_section(data)
    data.results["quality"]["similarity"]["real_pairs"] = None  # samples of the baseline, or replaced tokens
    assert "Its real text is documents of D, without a seed document." in quality_section(data)


def test_the_sheet_of_every_synthesizer_is_there(data):
    related = data.synthesizers["related"]
    quality = copy.deepcopy(related.figures["quality"])
    quality["similarity"]["to_seed"] = 0.123
    data.synthesizers["random"] = replace(related, figures={**related.figures, "quality": quality})
    page = quality_section(data)
    assert page.count("kept by the filters</th>") == 2 and "0.610 [" in page and "0.123 [" in page
    assert "<select><option>related</option><option>random</option></select>" in page
    assert page.index("synthesizer related</h3>") < page.index("synthesizer random</h3>") < page.index("The paper")
