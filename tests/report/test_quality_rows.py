"""Rows of the quality table."""

from __future__ import annotations

import pytest
from support.charts import charts_of
from support.made_up_run import made_up_run

from megatron_sbp.report.data import ReportData, load_report_data
from megatron_sbp.report.quality import quality_section
from megatron_sbp.report.quality_rows import ranged, sheet_rows
from megatron_sbp.report.results import collect_results
from megatron_sbp.stages.report import report_sources


@pytest.fixture
def data(tmp_path) -> ReportData:
    run = made_up_run(tmp_path)
    return load_report_data(report_sources(run), run.recipe, collect_results(report_sources(run), run.recipe))


def rows(data: ReportData) -> dict[str, list[str]]:
    """Cells by the heading of their row."""
    return {label: cells for label, *cells in sheet_rows(data.results["quality"])}


def test_every_figure_stands_beside_real_text_with_its_interval(data):
    found = rows(data)
    assert found["perplexity under the oracle *"] == ["29.25 [29.24, 29.26]"] * 3
    assert found["self-BLEU"] == ["0.210 [0.200, 0.220]"] * 3
    assert found["non-factual, according to the judge"][0].replace("\xa0", " ") == "12.5 % [11.5, 13.5]"
    assert found["13-token shingles that occur in D *"][1].replace("\xa0", " ") == "3.1 % [2.0, 4.0]"
    assert found["5, 25, 50, 75, 95 % of documents are shorter than"] == ["5, 25, 50, 75, 95"] * 3
    assert {f"word {n}-grams that do not occur in D" for n in (1, 2, 3, 5, 8, 13)} <= found.keys()
    assert ranged(None, None, str) == "–" and ranged(0.5, None, str) == "0.5"


def test_a_share_of_zero_is_written_as_people_write_it(data):
    for group in data.results["quality"]["groups"].values():
        group["duplicate_pairs_share"] = 0.0
        group["intervals"]["duplicate_pairs_share"] = [0.0, 1.5e-5]
    label = "near-duplicates among 2,000 random pairs"
    assert {cell.replace("\xa0", " ") for cell in rows(data)[label]} == {"0 % [0, 0.0015]"}


def test_items_of_the_evaluation_are_told_where_they_were_looked_for(data):
    assert not any("occur in it" in label for label in rows(data))
    data.results["quality"]["contamination"] = {
        "items": {"questions": 1200, "test documents": 0},
        "too_short": {"questions": 7, "test documents": 0},
        "found": {"synthetic": {"questions": 12, "test documents": 0}, "real": {"questions": 30, "test documents": 0}},
    }
    told = {label: cells for label, cells in rows(data).items() if "occur in it" in label}
    assert list(told) == ["questions that occur in it (of 1,200)"]
    assert sorted(cell.replace("\u00a0", " ") for cell in next(iter(told.values()))) == [
        "1.0 % [0.5, 1.7] (12)",
        "2.5 % [1.7, 3.5] (30)",
        "–",
    ]


def test_a_sheet_of_an_earlier_version_is_shown_without_what_it_lacks(data):
    quality = data.results["quality"]
    new = ("intervals", "lengths", "novel_ngrams_by_n", "distinct", "self_bleu", "vocabulary_overlap", "compared")
    for group in quality["groups"].values():
        for name in (*new, "perplexity", "retokenized", "non_factual", "pair_irrelevance"):
            del group[name]
    for name in ("seed_gain", "reads_seed", "intervals", "generations"):
        del quality["similarity"][name]
    del quality["judge"]
    found = rows(data)
    assert found["tokens per document, mean"] == ["61"] * 3
    page = quality_section(data)
    assert "self-BLEU" not in found and "raw generation and" not in page and not charts_of(page)
