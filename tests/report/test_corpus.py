"""Sections of the page that are about text: the ledger, pairs, and filters."""

from __future__ import annotations

import re

import pytest
from support.charts import chart_of, charts_of
from support.made_up_run import made_up_run

from megatron_sbp.planning.numbers import format_count
from megatron_sbp.report.corpus import filters_section, ledger_section, pairs_section
from megatron_sbp.report.data import ReportData, SynthesizerData, load_report_data
from megatron_sbp.report.results import collect_results
from megatron_sbp.stages.report import report_sources


@pytest.fixture
def data(tmp_path) -> ReportData:
    run = made_up_run(tmp_path)
    return load_report_data(report_sources(run), run.recipe, collect_results(report_sources(run), run.recipe))


def first(data: ReportData) -> SynthesizerData:
    return data.synthesizers["related"]


def rows(markup: str) -> dict[str, list[str]]:
    """Cells of all tables by the heading of their row."""
    found = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', markup)
    return {label: re.findall(r"<td[^>]*>(.*?)</td>", cells) for label, cells in found}


def test_the_ledger_sets_planned_beside_consumed(data):
    sbp = data.results["arms"]["sbp"]
    planned = sbp["planned_samples"]["synthetic"]
    label = next(label for label in rows(ledger_section(data)) if label.endswith(": synthetic"))
    length = data.recipe.model.sequence_length
    assert rows(ledger_section(data))[label] == [f"{planned:,}", f"{planned:,}", "yes", format_count(planned * length)]
    sbp["consumed_samples"]["synthetic"] -= 1
    assert rows(ledger_section(data))[label][1:3] == [f"{planned - 1:,}", "NO"]
    sbp["consumed_samples"] = None
    assert rows(ledger_section(data))[label][1:3] == ["–", "–"]


def test_the_oracle_reads_documents_of_its_own(data):
    assert "oracle: own documents" in rows(ledger_section(data))


def test_bars_of_the_ledger_divide_real_tokens_into_first_and_further_readings(data):
    sbp = data.results["arms"]["sbp"]
    found = chart_of(ledger_section(data))
    real = sbp["train_tokens"] - sbp["synthetic_tokens"]
    unique = min(sbp["unique_real_tokens"], real)
    told = {trace["name"]: trace["x"][1] for trace in found.data if "name" in trace}
    assert found.data[0]["y"][1] == "SBP" and told == {
        "D, first reading": unique,
        "unique documents of the oracle": 0,
        "read again": real - unique,
        "synthetic, once": sbp["synthetic_tokens"],
        "planned": sbp["planned_tokens"],
    }
    oracle = data.results["arms"]["oracle"]
    assert found.trace("D, first reading")["x"][2] == 0
    assert found.trace("unique documents of the oracle")["x"][2] == oracle["unique_real_tokens"]
    assert found.data[-1]["text"][1].strip() == f"{sbp['real_epochs']:.2f} ep."
    for figures in data.results["arms"].values():
        figures["train_tokens"] = None
    page = ledger_section(data)
    assert "not trained (models/*/consumed.json)" in page and not charts_of(page)


def test_pairs_are_counted_and_shown_escaped(data):
    page = pairs_section(data)
    found, train = rows(page), first(data).pairs["train"]
    histogram, rules = charts_of(page)
    assert sum(histogram.trace("candidates")["y"]) == train["candidates"]
    assert sum(histogram.trace("kept")["y"]) == train["kept"]
    assert rules.data[0]["y"] == [name.replace("_", " ") for name in train["dropped"]]
    assert rules.data[0]["x"] == list(train["dropped"].values())
    assert found["pairs kept"] == [f"{train['kept']:,}"] and found["documents with a pair"] == ["190"]
    assert found["pairs of the valid split, which stop the tuning"] == ["61"]
    assert [cell.replace("\xa0", " ") for cell in found["recall of the search at k = 10"]] == ["98.71 %"]
    above = found[f"... of neighbors above alpha {train['alpha']:g}"]
    assert [cell.replace("\xa0", " ") for cell in above] == ["95.00 %"]
    assert "3 of the kept pairs" in page and "similarity 0.612" in page and "seed &lt;b&gt;" in page
    train["seeds_per_target"] = {"mean": 2.5, "largest": 1200, "share_of_top_percent": 0.25, "hubs": [{"id": "<i>"}]}
    page = pairs_section(data)
    assert rows(page)["seeds of a target: mean, most"] == ["2.5, 1,200 (&lt;i&gt;)"]
    assert rows(page)["share of the pairs whose target is among the 1 % with the most"] == ["25.0\u00a0%"]
    first(data).pairs["examples"][0]["score"] = None
    assert "no similarity" in pairs_section(data)
    assert "control run" not in page
    first(data).recipe.pairs.relation = "random"
    assert "In this control run the targets" in pairs_section(data)
    del train["score_histogram"]
    assert "Missing: the histogram" in pairs_section(data)
    first(data).pairs = None
    assert "Missing: pairs/audit.json" in pairs_section(data)


def test_filters_name_every_rule(data):
    data.documents["dropped"] = {"exact_duplicate": 7, "too_short": 1234}
    first(data).synthetic["dropped"] = {"repetition": 11}
    synthetic, documents = charts_of(filters_section(data))
    assert documents.title == "Documents of the corpus: dropped"
    assert (documents.data[0]["y"], documents.data[0]["x"]) == (["exact duplicate", "too short"], [7, 1234])
    assert [text.strip() for text in documents.data[1]["text"]] == ["7", "1,234"]
    assert (synthetic.data[0]["y"], synthetic.data[0]["x"]) == (["repetition"], [11])
    first(data).synthetic["dropped"] = {"repetition": 0, "copying": 0}
    page = filters_section(data)
    assert len(charts_of(page)) == 1 and "None; the rules are repetition and copying." in page
    data.documents, first(data).synthetic = None, None
    page = filters_section(data)
    assert "Missing: documents/audit.json" in page and "Missing: synthetic/audit.json" in page


def test_texts_that_are_tokenized_differently_again_are_told(data):
    del first(data).synthetic["retokenized"]  # of an earlier version
    assert "tokenized again" not in filters_section(data)
    counts = {"documents": 1200, "differing": 60, "kept": 1000, "kept_differing": 21}
    first(data).synthetic["retokenized"] = {**counts, "share": 0.05, "kept_share": 0.021}
    page = filters_section(data)
    assert "tokenized again" in page and "5.00\u00a0%" in page and "2.10\u00a0%" in page and "1,200" in page


def test_what_filters_measured_is_told_with_its_error(data):
    assert "measured by filters" not in filters_section(data)
    error = {"sampled": 0.25, "standard_error_at_limit": 0.0361}
    first(data).synthetic["measured"] = {
        "corpus_copying": {"documents": 1200, "mean": 0.0123, **error},
        "predicate": {"documents": 0, "mean": None},
    }
    page = filters_section(data).replace("\u00a0", " ")
    assert rows(page)["corpus copying"] == ["1,200", "0.0123", "0.036, from 25.00 % of all shingles"]
    assert rows(page)["predicate"] == ["0", "–", "–"]


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (500, "20.0 % more than the target, which no arm reads."),
        (800, "25.0 % less than the target."),
        (600, "exactly"),
    ],
)
def test_what_was_generated_and_kept_beyond_the_target_is_told(data, target, told):
    found = first(data)
    found.recipe.synthesis.tokens = target
    found.synthetic |= {"generated_tokens": 1000, "tokens": 600}
    markup = filters_section(data).replace("\u00a0", " ")
    assert f"For a target of {target:,} tokens, 1,000 were generated ({1000 / target:.2f} times as many)." in markup
    assert f"600 of them passed the filters (60.0 %), {told}" in markup


def test_ends_of_unfinished_texts_are_not_more_than_all(data):
    """14,058 of 13,875 tokens passed the filters (101.3 %), the page said."""
    found = first(data)
    found.synthetic |= {"generated_tokens": 600, "tokens": 610}
    markup = filters_section(data).replace("\u00a0", " ")
    assert "Texts with 610 tokens, their ends included, passed the filters, " in markup
