"""The results on the page: every arm in every table, and many arms still readable."""

from __future__ import annotations

import copy
import re

import pytest
from support.made_up_run import made_up_run

from megatron_sbp.report.data import ReportData, load_report_data
from megatron_sbp.report.outcome import headline_box, results_section
from megatron_sbp.report.quality import quality_section
from megatron_sbp.report.results import collect_results
from megatron_sbp.report.text import format_results
from megatron_sbp.stages.report import report_sources


@pytest.fixture(scope="module")
def three(tmp_path_factory) -> ReportData:
    run = made_up_run(tmp_path_factory.mktemp("outcome"))
    sources = report_sources(run)
    return load_report_data(sources, run.recipe, collect_results(sources, run.recipe))


@pytest.fixture
def nine(three) -> ReportData:
    """The same with six further arms, recall and three replicates."""
    data = copy.deepcopy(three)
    results, sbp = data.results, data.results["arms"]["sbp"]
    results["arms"] |= {f"other{place}": copy.deepcopy(sbp) for place in range(6)}
    results["replicates"] = 3
    recall = {"recall": 0.5, "stderr": 0.1, "chance": 0.05, "questions": 20}
    for place, figures in enumerate(results["arms"].values()):
        figures |= {"recall": 0.1 * place, "recall_stderr": 0.01, "recall_chance": 0.05}
        figures["recall_by_documents"] = {"0": {**recall, "recall": 0.01 * place}, "3+": recall}
        figures["mean"] = {"test_loss": {"mean": 3.0 + place, "stderr": 0.1, "low": 1, "high": 9}}
    gain = {"difference": 0.1, "stderr": 0.01, "low": 0.08, "high": 0.12}
    arms = list(results["arms"])
    results["comparisons"] = {
        f"{one}-{other}": {"test_loss": gain, "choice_accuracy": gain, "recall": None}
        for one in arms
        for other in arms
        if one != other
    }
    return data


def tables(markup: str) -> list[list[list[str]]]:
    return [
        [re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", row) for row in re.findall(r"<tr[^>]*>(.*?)</tr>", table)]
        for table in re.findall(r"<table>(.*?)</table>", markup)
    ]


def test_few_arms_are_columns_and_all_differences_are_shown(three):
    markup = results_section(three)
    results = next(table for table in tables(markup) if table[0][0] == "this run")
    assert results[0][1:] == ["repetition baseline", "SBP", "oracle"]
    differences = next(table for table in tables(markup) if table[0][0] == "differences")
    assert len(differences) == 1 + 3 and "<details>" not in markup


def test_a_share_of_the_oracles_gain_is_told_of_what_was_measured(three):
    told = results_section(three).partition("Share of the oracle's gain that SBP reaches: ".replace("'", "&#x27;"))[2]
    told = told.partition("</p>")[0]
    assert told.startswith("in test loss ") and "; in accuracy " in told and "recall" not in told


def test_many_arms_are_rows_in_every_table(nine):
    markup = results_section(nine)
    for corner in ("this run", "closed-book recall by documents in D"):
        table = next(table for table in tables(markup) if table[0][0] == corner)
        assert [row[0] for row in table[1:4]] == ["repetition baseline", "SBP", "oracle"] and len(table) == 10
        assert len({len(row) for row in table}) == 1 and len(table[0]) <= 12
    assert "The same in every arm: training tokens" in markup
    assert "means over 3 replicates" in markup and "4.0000 ± 0.1000" in markup.replace("\u00a0", " "), (
        "the second arm's mean, not its first"
    )


def test_differences_from_sbp_are_shown_and_the_others_folded_away(nine):
    shown, _, folded = results_section(nine).partition("<details>")
    first, second = (next(t for t in tables(part) if t[0][0] == "differences") for part in (shown, folded))
    assert len(first) == 1 + 8 and all("SBP" in row[0] for row in first[1:])
    assert len(second) == 1 + 28 and not any("SBP" in row[0] for row in second[1:])
    assert "28 differences between the other arms" in folded


def test_what_was_not_measured_is_said(three):
    data = copy.deepcopy(three)
    data.synthesizers["related"].figures["quality"] = None
    assert "Missing: evaluation/quality.json" in quality_section(data)
    data.results["arms"]["sbp"]["test_loss"] = None
    assert "Missing: SBP not evaluated" in results_section(data)


def test_the_headline_is_escaped(nine):
    nine.results["arms"]["<b>"] = nine.results["arms"].pop("other0")
    found = nine.results["comparisons"]
    for name in [name for name in found if "other0" in name]:
        found[name.replace("other0", "<b>")] = found.pop(name)
    assert "&lt;b&gt;" in headline_box(nine) and "<b>" not in headline_box(nine)


def test_no_right_answer_in_few_groups_is_an_interval_and_no_error_of_zero(three):
    data = copy.deepcopy(three)
    part = {"questions": 15, "groups": 5, "recall": 0.0, "stderr": 0.0, "chance": 0.05, "low": 0.0, "high": 0.522}
    for figures in data.results["arms"].values():
        figures["recall_by_documents"] = {"0": part, "3+": {**part, "recall": 0.5, "stderr": 0.1}}
    markup = results_section(data).replace("\u00a0", " ")
    found = next(table for table in tables(markup) if table[0][0] == "closed-book recall by documents in D")
    assert found[1][1] == "0 % [0 %, 52.2 %]" and found[2][1] == "50.0 % ± 10.0"
    assert "0 % ± 0.0" not in markup and "Brackets: the exact 95 % interval" in markup
    assert "Brackets" not in results_section(three)


def test_recall_by_tag_is_a_table_and_lines(three):
    data = copy.deepcopy(three)
    assert "recall by tag" not in results_section(data) and "recall, birthplace" not in format_results(data.results)
    part = {"questions": 15, "groups": 5, "recall": 0.25, "stderr": 0.1, "chance": 0.05, "low": 0.0, "high": 0.5}
    for figures in data.results["arms"].values():
        figures["recall_by_tag"] = {
            "birthplace": part,
            "work": {**part, "recall": 1.0, "stderr": 0.0, "low": 0.48, "high": 1.0},
        }
    markup = results_section(data).replace("\u00a0", " ")
    found = next(table for table in tables(markup) if table[0][0] == "closed-book recall by tag")
    assert found[1] == ["birthplace (15 questions, chance 5.0 %)", *["25.0 % ± 10.0"] * 3]
    assert found[2][1] == "100.0 % [48.0 %, 100.0 %]"
    lines = format_results(data.results).replace("\u00a0", " ").splitlines()
    assert "recall, birthplace: repetition baseline 25.0 % ± 10.0, SBP 25.0 % ± 10.0, oracle 25.0 % ± 10.0" in lines
