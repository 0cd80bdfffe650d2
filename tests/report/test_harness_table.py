"""The tables of benchmark tasks, and their line for a terminal."""

from __future__ import annotations

import re

import pytest
from support.harness_figures import measured, recipe

from megatron_sbp.report.harness import harness_figures
from megatron_sbp.report.harness_table import harness_lines, harness_tables

ARMS = ("baseline", "sbp", "oracle")


def results(replicates: int = 1, arms: tuple[str, ...] = ARMS, **changed) -> dict:
    found = [{arm: {**measured(arm, seed), **changed} for arm in arms} for seed in range(replicates)]
    return {
        "arms": {arm: {} for arm in arms},
        "replicates": replicates,
        "harness": harness_figures(found, recipe()),
    }


def text_of(markup: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", markup))


def test_nothing_without_tasks():
    empty = {"arms": {}, "replicates": 1, "harness": None}
    assert harness_tables(empty) == "" and harness_lines(empty) == []


def test_every_task_and_metric_has_a_row():
    found = results()
    text = text_of(harness_tables(found))
    for label in (
        "large, acc (0-shot, 400 documents)",
        "large, acc_norm (0-shot, 400 documents)",
        "prose, word_perplexity (0-shot, 50 documents)",
        "mean of 2 tasks",
    ):
        assert label in text
    value = found["harness"]["tasks"]["large"]["arms"]["sbp"]["acc"]["value"]
    assert f"{100 * value:.1f}\u00a0% ±\u00a01.0".replace("\u00a0", " ") in text
    assert re.search(r"large, acc_norm \(0-shot, 400 documents\) \d\d.\d % ", text)
    assert re.search(r"prose, word_perplexity \(0-shot, 50 documents\) \d\d.\d{4} ± ", text)
    assert "benchmark tasks repetition baseline SBP oracle" in text and "first replicate" not in text
    assert "gains SBP oracle share" in text and "Only the first" not in text


def test_trials_are_called_that():
    assert "Only the first 8 documents of each task: not the benchmark" in harness_tables(results(limit=8))
    assert "of the first replicate" in harness_tables(results(replicates=2))


@pytest.mark.parametrize("arms", [("baseline",), ("sbp", "oracle")])
def test_without_a_baseline_or_another_arm_there_are_no_gains(arms):
    assert "gains" not in harness_tables(results(arms=arms))


def test_many_arms_are_rows():
    found = results()
    found["arms"] = {arm: {} for arm in (*ARMS, "a", "b", "c")}
    assert "turned" in harness_tables(found)


def test_the_line_for_a_terminal():
    found = results()
    [line] = harness_lines(found)
    assert line.startswith("lm-eval, mean of large, small: repetition baseline 2") and "; gap closed: " in line
    found["harness"]["mean"] = None
    assert [line.partition(":")[0] for line in harness_lines(found)] == [
        "lm-eval, large (acc)",
        "lm-eval, small (acc)",
        "lm-eval, prose (word_perplexity)",
    ]


def test_a_line_with_figures_of_the_first_replicate_says_so():
    found = results(replicates=2)
    found["harness"]["mean"] = None
    assert harness_lines(found)[0].startswith("lm-eval, large (acc, first replicate): ")
