"""The results in a terminal: aligned, and the same numbers as results.json."""

from __future__ import annotations

import pytest
from support.made_up_run import made_up_run

from megatron_sbp.report.results import collect_results
from megatron_sbp.report.text import format_results
from megatron_sbp.stages.report import report_sources


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict:
    run = made_up_run(tmp_path_factory.mktemp("text"))
    return collect_results(report_sources(run), run.recipe)


def test_columns_are_aligned_and_rows_are_arms(results):
    lines = format_results(results).splitlines()
    table = lines[2 : 3 + len(results["arms"])]
    assert len({len(line) for line in table}) == 1
    assert [line.split("  ")[0].strip() for line in table[1:]] == ["repetition baseline", "SBP", "oracle"]


def test_intervals_are_ascending_and_signed_for_the_loss(results):
    text = format_results(results)
    found = results["comparisons"]["sbp-baseline"]["test_loss"]
    low, high = sorted(-found[end] for end in ("low", "high"))
    told = f"test loss {-found['difference']:+.4f} (95 %: {low:+.4f} to {high:+.4f})".replace("-", "−")
    assert f"SBP against repetition baseline: {told}" in text


@pytest.mark.parametrize(("generated", "told"), [(900, ", 800 tokens of 900 generated, "), (700, ", 800 tokens, ")])
def test_no_more_is_kept_than_was_generated(results, generated, told):
    """Unfinished texts get an end-of-document, and may all be kept."""
    synthetic = {**results["synthetic"], "tokens": 800}
    synthetic["audit"] = {**synthetic["audit"], "generated_tokens": generated}
    assert told in format_results({**results, "synthetic": synthetic})


def test_recall_has_a_column_only_where_it_was_asked(results):
    assert "recall " not in format_results(results).splitlines()[2]
    asked = {**results, "arms": {arm: {**figures, "recall": 0.5, "recall_stderr": None} for arm, figures in
                                 results["arms"].items()}}  # fmt: skip
    assert "recall" in format_results(asked).splitlines()[2] and "50.0\u00a0%" in format_results(asked)


def test_a_share_in_recall_is_told_where_there_is_none_in_loss(results):
    none = {"gap_closed": None, "gap_closed_reason": "the oracle is not ahead"}
    told = {**results, **none, "gap_closed_recall": 0.5, "gap_closed_recall_stderr": 0.1}
    line = next(line for line in format_results(told).splitlines() if line.startswith("gap closed"))
    assert line.replace("\u00a0", " ") == (
        "gap closed: none (the oracle is not ahead), 50.0 % ± 10.0 of the oracle's gain in closed-book recall"
    )


def test_of_several_replicates_the_means_are_shown(results):
    mean = {"test_loss": {"mean": 1.2345, "stderr": 0.25, "low": 1.0, "high": 1.5}}
    arms = {arm: {**figures, "mean": mean} for arm, figures in results["arms"].items()}
    text = format_results({**results, "arms": arms, "replicates": 3})
    assert "3 replicates; losses, accuracies, and recalls are means over them" in text.splitlines()[0]
    assert text.replace("\u00a0", " ").count("1.2345 ± 0.2500") == len(arms)


def test_an_empty_run_is_dashes(results):
    empty = {arm: dict.fromkeys(figures) for arm, figures in results["arms"].items()}
    nothing = {pair: dict.fromkeys(found) for pair, found in results["comparisons"].items()}
    text = format_results({**results, "arms": empty, "comparisons": nothing, "pairs": None, "synthetic": None})
    assert "None" not in text and "nan" not in text and "–" in text
