"""One arm's figures: consumption against the plan, equal tokens, and means over replicates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.planning import ledger
from megatron_sbp.recipe import load_recipe
from megatron_sbp.report.arms import FIGURES, arm_figures, check_consumed, check_equal_tokens, replicated_figures
from megatron_sbp.report.sources import Trained

RECIPE = Path(__file__).parents[1] / "end_to_end" / "recipe.yaml"


@pytest.fixture
def recipe(tmp_path):
    return load_recipe(RECIPE, [f"run_folder={tmp_path}/run"])


def consumed(recipe, arm: str) -> dict:
    length = recipe.model.sequence_length
    samples = ledger.arm_samples(recipe, arm)
    datasets = {
        name: {"samples": count, "tokens": count * length, "unique_tokens": 10, "epochs": 2.0}
        for name, count in samples.items()
    }
    tokens = sum(samples.values()) * length
    return {"train_tokens": tokens, "datasets": datasets, "tokens_per_second": 5.0, "seconds": tokens / 5}


def trained(folder: Path, contents: dict | None, losses: list[float] = ()) -> Trained:
    folder.mkdir()
    if contents is not None:
        files.write_json(folder / "consumed.json", contents)
    rows = [{"kind": "valid", "iteration": n, "tokens": 10 * n, "loss": loss} for n, loss in enumerate(losses)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Trained(folder, folder / "evaluation.json")


@pytest.mark.parametrize("arm", ["baseline", "sbp", "oracle"])
def test_what_was_planned_passes(recipe, arm):
    check_consumed(consumed(recipe, arm), recipe, arm, Path("consumed.json"))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda found: found["datasets"]["real"].update(samples=1), "datasets.real.samples"),
        (lambda found: found["datasets"].pop("synthetic"), "datasets.synthetic.samples"),
        (lambda found: found.update(train_tokens=7), "train_tokens"),
        (lambda found: found["datasets"]["real"].update(tokens=7), "datasets.real.tokens"),
    ],
)
def test_any_difference_names_file_and_key(recipe, change, key):
    found = consumed(recipe, "sbp")
    change(found)
    with pytest.raises(InputError) as caught:
        check_consumed(found, recipe, "sbp", Path("consumed.json"))
    assert (caught.value.file, caught.value.key) == (Path("consumed.json"), key)


def test_a_dataset_of_no_samples_may_be_missing_from_the_plan(recipe):
    found = consumed(recipe, "baseline")
    found["datasets"]["synthetic"] = {"samples": 0, "tokens": 0, "unique_tokens": 0, "epochs": 0.0}
    check_consumed(found, recipe, "baseline", Path("x"))


def test_arms_with_other_tokens_are_not_comparable(recipe, tmp_path):
    one = trained(tmp_path / "one", consumed(recipe, "baseline"))
    other = trained(tmp_path / "other", {**consumed(recipe, "sbp"), "train_tokens": 8})
    check_equal_tokens([{"baseline": one, "sbp": one}, {"baseline": one}])
    check_equal_tokens([{"baseline": one, "sbp": trained(tmp_path / "none", None)}])  # not trained yet
    with pytest.raises(InputError, match="'sbp' was trained on 8 tokens, 'baseline' on") as caught:
        check_equal_tokens([{"baseline": one}, {"baseline": one, "sbp": other}])
    assert caught.value.file == other.consumed


def test_the_best_validation_is_the_lowest_finite_one(recipe, tmp_path):
    source = trained(tmp_path / "arm", consumed(recipe, "baseline"), [4.0, 3.0, float("nan"), 3.5])
    found = arm_figures(source, recipe, "baseline", None)["best_valid"]
    assert found == {"loss": 3.0, "tokens": 10, "last_loss": 3.5, "last_tokens": 30}


def test_an_arm_that_was_not_trained_has_a_plan_and_nothing_else(recipe, tmp_path):
    found = arm_figures(trained(tmp_path / "arm", None), recipe, "sbp", None)
    assert found["planned_tokens"] > 0 and found["planned_samples"].keys() == {"real", "synthetic"}
    rest = {name: value for name, value in found.items() if not name.startswith("planned")}
    assert set(rest.values()) == {None}


def test_means_are_over_replicates_and_only_of_what_all_measured(recipe, tmp_path):
    source = trained(tmp_path / "arm", consumed(recipe, "baseline"), [3.0])
    evaluations = [
        {"baseline": {"valid": {"loss": 4.0}, "test": {"loss": loss}, "choice": {"accuracy": accuracy}}}
        for loss, accuracy in ((3.0, 0.5), (4.0, None), (5.0, 0.7))
    ]
    found = replicated_figures([{"baseline": source}] * 3, recipe, "baseline", evaluations)
    assert found["test_loss"] == 3.0 and [entry["test_loss"] for entry in found["replicates"]] == [3.0, 4.0, 5.0]
    assert found["mean"]["test_loss"]["mean"] == 4.0 and found["mean"]["valid_loss"]["stderr"] == 0.0
    assert "choice_accuracy" not in found["mean"] and set(found["mean"]) <= set(FIGURES)
    assert "mean" not in replicated_figures([{"baseline": source}], recipe, "baseline", evaluations[:1])
