"""results.json: its keys, what happens when SBP loses, and the comparison of plan and truth."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.made_up_run import made_up_run
from support.made_up_text import text_run

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.report.results import collect_results as collect
from megatron_sbp.report.text import format_results
from megatron_sbp.report.verdict import headline, verdict
from megatron_sbp.stages.report import report_sources
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.training.metrics import Metrics

ARM_KEYS = (
    "train_tokens unique_real_tokens synthetic_tokens real_epochs valid_loss test_loss choice_accuracy choice_stderr "
    "tokens_per_second seconds"
).split()
SYNTHETIC_KEYS = (
    "documents tokens dropped repetition duplicate copying similarity_to_seed similarity_random_pairs"
).split()


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Run:
    return made_up_run(tmp_path_factory.mktemp("made_up"))


@pytest.fixture
def run(original, tmp_path) -> Run:
    shutil.copytree(original.root, tmp_path / "run")
    return Run(original.recipe, tmp_path / "run")


def collect_results(run: Run) -> dict:
    return collect(report_sources(run), run.recipe)


def change(file: Path, *keys: str, value) -> None:
    tree = files.read_json(file)
    inner = tree
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    files.write_json(file, tree)


def test_all_keys_are_there_and_no_nan(run):
    results = collect_results(run)
    for arm in run.recipe.arms:
        assert all(results["arms"][arm][key] is not None for key in ARM_KEYS)
    assert all(results["pairs"][key] is not None for key in ("documents", "candidates", "kept", "dropped"))
    assert results["pairs"]["recall_at_k"] == 0.9871 and results["pairs"]["recall_above_alpha"] == 0.95
    assert all(results["synthetic"][key] is not None for key in SYNTHETIC_KEYS)
    assert results["stages"]["train-sbp"]["seconds"] == 141.0
    assert {"python", "torch", "megatron-core", "transformers", "scann", "cpu", "cores", "gpu"} <= set(
        results["environment"]
    )
    assert results["recipe"]["pairs"]["alpha"] == 0.5
    text = json.dumps(results, allow_nan=False)
    assert json.loads(text) == results


def test_figures_come_from_the_right_places(run):
    results = collect_results(run)
    arms = results["arms"]
    assert {arms[arm]["train_tokens"] for arm in run.recipe.arms} == {1568 * 128}
    assert (arms["baseline"]["synthetic_tokens"], arms["sbp"]["synthetic_tokens"]) == (0, 468 * 128)
    assert arms["oracle"]["unique_real_tokens"] > arms["baseline"]["unique_real_tokens"]
    assert arms["baseline"]["real_epochs"] > arms["sbp"]["real_epochs"] > 1
    assert results["synthetic"]["before_filters"]["repetition"] == 0.06
    assert results["synthetic"]["repetition"] == 0.0
    assert results["synthetic"]["similarity_to_seed"] == 0.61
    assert results["synthetic"]["before_filters"]["similarity_to_seed"] == 0.63


def test_gap_closed_is_the_share_of_the_oracles_gain(run):
    results = collect_results(run)
    loss = {arm: results["arms"][arm]["test_loss"] for arm in run.recipe.arms}
    expected = (loss["baseline"] - loss["sbp"]) / (loss["baseline"] - loss["oracle"])
    assert results["gap_closed"] == pytest.approx(expected)
    assert 0 < results["gap_closed_stderr"] < 0.1
    assert results["gap_closed_reason"] is None
    assert results["gap_closed_low"] < expected < results["gap_closed_high"]
    found = results["comparisons"]["sbp-baseline"]["test_loss"]
    assert found["difference"] == pytest.approx(loss["baseline"] - loss["sbp"], abs=1e-6)
    assert found["low"] < found["difference"] < found["high"]
    # Paired over the same sequences: far smaller than the standard errors of the two losses.
    assert found["stderr"] < 0.3 * results["arms"]["sbp"]["test_loss_stderr"]
    turned = results["comparisons"]["baseline-sbp"]["test_loss"]
    assert (turned["low"], turned["high"]) == pytest.approx((-found["high"], -found["low"]))


def recall_of(credits: list[float]) -> dict:
    figures = {"questions": 8, "groups": 4, "recall": sum(credits) / 8, "stderr": 0.1, "chance": 0.25}
    return {
        **figures, "by_tag": {}, "by_documents": {"0": figures, "3+": figures},
        "group_credits": credits, "group_questions": [2, 2, 2, 2],
    }  # fmt: skip


def test_recall_is_compared_group_by_group(run):
    assert collect_results(run)["comparisons"]["sbp-baseline"]["recall"] is None
    for arm, credits in (("baseline", [1.0, 0.0, 0.0, 1.0]), ("sbp", [2.0, 1.0, 1.0, 1.0]), ("oracle", [2.0] * 4)):
        change(run.evaluation(arm), "recall", value=recall_of(credits))
    results = collect_results(run)
    assert [results["arms"][arm]["recall"] for arm in run.recipe.arms] == [0.25, 0.625, 1.0]
    assert results["arms"]["sbp"]["recall_by_documents"].keys() == {"0", "3+"}
    found = results["comparisons"]["sbp-baseline"]["recall"]
    assert found["difference"] == 0.375
    assert found["stderr"] == pytest.approx(np.std([0.5, 0.5, 0.5, 0.0], ddof=1) / 2)
    assert results["gap_closed_recall"] == 0.5
    told = format_results(results)
    assert "recall" in told and "62.5\xa0% ±\xa010.0" in told
    sentences = " ".join(verdict(results))
    # Four groups: three standard errors are within the interval.
    assert "; in closed-book recall the difference is no more than the noise: " in sentences
    assert "; it recalls more without reading: 100.0" in sentences
    assert "The synthesizer reads its seed" in sentences
    change(run.evaluation("sbp"), "recall", "group_questions", value=[2, 2, 2, 1])
    with pytest.raises(InputError, match="evaluated on different questions"):
        collect_results(run)


def test_sbp_can_lose(tmp_path):
    results = collect_results(made_up_run(tmp_path, sbp=0.2, oracle=-0.4))
    assert results["gap_closed"] < 0
    assert results["gap_closed_accuracy"] is None or results["gap_closed_accuracy"] <= 0
    assert results["comparisons"]["sbp-baseline"]["test_loss"]["difference"] < 0
    assert "SBP lost to the repetition baseline in test loss" in headline(results)


def test_oracle_that_is_not_ahead_gives_null_and_the_reason(tmp_path):
    results = collect_results(made_up_run(tmp_path, sbp=-0.1, oracle=0.3))
    assert results["gap_closed"] is None and results["gap_closed_stderr"] is None
    assert "the oracle is not ahead of the baseline" in results["gap_closed_reason"]


def test_other_consumption_than_planned_is_an_error_with_both_values(run):
    file = run.model("sbp") / "consumed.json"
    change(file, "datasets", "synthetic", "samples", value=467)
    with pytest.raises(InputError, match=r"467 samples of 'synthetic' were consumed, but 468 were planned") as caught:
        collect_results(run)
    assert caught.value.file == file


def test_a_dataset_that_was_not_planned_is_an_error(run):
    extra = {"samples": 3, "tokens": 384, "unique_tokens": 384, "epochs": 1.0}
    change(run.model("baseline") / "consumed.json", "datasets", "synthetic", value=extra)
    with pytest.raises(InputError, match=r"3 samples of 'synthetic' were consumed, but 0 were planned"):
        collect_results(run)


def test_tokens_that_do_not_fit_the_samples_are_an_error(run):
    change(run.model("oracle") / "consumed.json", "train_tokens", value=200705)
    with pytest.raises(InputError, match=r"200705.*200704"):
        collect_results(run)


def test_arms_must_have_seen_the_same_test_sequences(run):
    evaluation = files.read_json(run.evaluation("sbp"))
    change(run.evaluation("sbp"), "test", "sequence_tokens", value=evaluation["test"]["sequence_tokens"][::-1][:-1])
    with pytest.raises(InputError, match="different test sequences"):
        collect_results(run)


def test_what_has_not_run_is_null(tmp_path):
    results = collect_results(text_run(tmp_path))
    assert results["arms"]["sbp"]["test_loss"] is None
    assert results["pairs"] is None and results["synthetic"] is None and results["quality"] is None
    assert results["gap_closed"] is None and results["gap_closed_reason"] == "no test loss of baseline, sbp, oracle"
    assert len(results["comparisons"]) == 6
    assert all(found is None for pair in results["comparisons"].values() for found in pair.values())
    json.dumps(results, allow_nan=False)


def test_nan_in_a_training_log_stays_out(run):
    row = {"kind": "valid", "iteration": 999, "samples": 1, "tokens": 1, "loss": float("nan")}
    Metrics(run.model("baseline") / "metrics.jsonl").append(row)
    results = collect_results(run)
    assert np.isfinite(results["arms"]["baseline"]["best_valid"]["loss"])
    json.dumps(results, allow_nan=False)
