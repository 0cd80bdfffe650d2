"""An experiment through every stage: controls without pairs, a second round, order, share, recall against tokens."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.whole_program import RECIPE, ROOT, run_sbp

from megatron_sbp.base.files import read_jsonl_zst
from megatron_sbp.planning import ledger
from megatron_sbp.recipe import load_recipe
from megatron_sbp.training import consumption

pytestmark = [pytest.mark.timeout(1800), pytest.mark.slow, pytest.mark.exhaustive]  # five training runs, two tunings

ARMS = """
synthesizers:
  related: {}
  second: {tuning: {start_arm: first}}
  self: {method: samples}
  noise: {method: replacement, replaced: 0.3, filter: {max_copying: 1.0}}
arms:
  baseline: {}
  first: {synthetic: related, order: synthetic_first}
  second: {synthetic: second}
  self: {synthetic: self, synthetic_share: 0.1}
  noise: {synthetic: noise}
"""
QUESTIONS = [
    {"prompt": "A kind of computer", "choices": ["program", "language", "network"], "answer": answer}
    for answer in ("program", "language", "network")
]


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> tuple[Path, Path, str]:
    """The recipe, its run folder, and what was printed."""
    folder = tmp_path_factory.mktemp("experiment")
    corpus = ROOT / "examples" / "quickstart" / "foldoc.jsonl.zst"
    text = RECIPE.read_text().replace("../../examples/quickstart/foldoc.jsonl.zst", str(corpus)) + ARMS
    text = text.replace("evaluation: {", "evaluation: {questions: questions.jsonl, recall_points: 2, ")
    text = text.replace("margin: 1.3", "margin: 2").replace("filter: {", "filter: {duplicates: keep, ")
    (folder / "recipe.yaml").write_text(text)
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    run = folder / "run"
    return folder / "recipe.yaml", run, run_sbp("run", folder / "recipe.yaml", f"run_folder={run}")


def rows(folder: Path) -> list[dict]:
    found = [row for file in sorted(folder.glob("synthetic/[0-9]*.zst")) for row in read_jsonl_zst(file)]
    assert found
    return found


def test_every_arm_reads_as_much(experiment):
    recipe, run, _ = experiment
    results = json.loads((run / "results.json").read_text())
    plan = load_recipe(recipe)
    assert list(results["arms"]) == ["baseline", "first", "second", "self", "noise"]
    assert {arm["train_tokens"] for arm in results["arms"].values()} == {ledger.train_samples(plan) * 128}
    assert results["arms"]["self"]["synthetic_tokens"] == int(0.1 * ledger.train_samples(plan)) * 128
    assert results["comparisons"]["first-noise"]["recall"] is not None


def test_texts_know_where_they_come_from(experiment):
    run = experiment[1]
    related, second, samples, noise = (
        rows(run / part) for part in (".", "synthesizers/second", "synthesizers/self", "synthesizers/noise")
    )
    assert {row["round"] for row in related} == {1} and all(row["seed_id"] for row in related)
    assert all(row["pairs"] for row in [*related, *second])
    assert {row["pairs"] for row in samples} == {None}
    assert {row["round"] for row in second} == {2} and all(row["seed_id"] for row in second)
    assert {(row["seed_id"], row["seed_row"]) for row in samples} == {(None, None)}
    assert {row["replaced"] for row in noise} == {0.3} and all(row["seed_id"] for row in noise)
    start = json.loads((run / "stages" / "tune.second.json").read_text())
    assert any(name.startswith("models/first/iter_") for name in start["inputs"])
    assert not (run / "synthesizers/self/pairs").exists() and not (run / "synthesizers/noise/models").exists()


def test_synthetic_text_comes_first(experiment):
    run = experiment[1]
    data = json.loads((run / "models" / "first" / "data.json").read_text())
    assert [source["name"] for source in data["train"]] == ["synthetic", "real"] and data["order"] == "listed"
    # As consumed: nothing real before the last synthetic sequence.
    consumed = consumption.consumed(run / "models" / "first" / "consumed")
    steps = [consumed[consumed[:, 1] == source, 0] for source in (0, 1)]
    assert steps[0].max() <= steps[1].min() and len(np.unique(consumed[:, 0])) == consumed[:, 0].max() + 1


def test_recall_against_tokens(experiment):
    recipe, run, printed = experiment
    results, total = json.loads((run / "results.json").read_text()), ledger.train_samples(load_recipe(recipe)) * 128
    for name, arm in results["arms"].items():
        tokens = [point["tokens"] for point in arm["recall_curve"]]
        assert len(tokens) == 2 and tokens == sorted(tokens) and tokens[-1] == total
        assert arm["recall_curve"][-1]["recall"] == arm["recall"]
        assert len(list((run / "models" / name).glob("iter_*"))) == 2
    page = (run / "report" / "index.html").read_text()
    assert (
        page.index('id="overview"') < page.index('id="results"') and "closed-book recall over training tokens" in page
    )
    assert "first" in printed and "recall" in printed
