"""The graph of a recipe: every stage after what it reads, each output of one stage only."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.graph import all_stages

TINY = Path(__file__).parents[1] / "end_to_end" / "recipe.yaml"
EXAMPLES = Path(__file__).parents[2] / "examples"


def graph(tmp_path, text: str) -> list[str]:
    file = tmp_path / "recipe.yaml"
    file.write_text(TINY.read_text() + text)
    return [stage.name for stage in all_stages(load_recipe(file))]


def test_an_arm_without_synthetic_text_needs_no_synthesizer(tmp_path):
    found = graph(tmp_path, "arms: {baseline: {}, oracle: {documents: oracle}}\n")
    assert "tune" not in found and "synthesize" not in found and "pairs" not in found
    assert found[-1] == "report" and "train-sbp" not in found


def test_controls_take_only_the_stages_they_need(tmp_path):
    found = graph(
        tmp_path,
        "synthesizers: {noise: {method: replacement}, self: {method: samples}}\n"
        "arms: {baseline: {}, noise: {synthetic: noise}, self: {synthetic: self}}\n",
    )
    assert "synthesize.noise" in found and "export-synthesizer.noise" not in found and "tune.noise" not in found
    assert found.index("train-baseline") < found.index("export-synthesizer.self") < found.index("synthesize.self")
    assert not any(name.startswith(("pairs", "tune")) for name in found)


def test_a_replicate_repeats_trainings_and_shares_pairs(tmp_path):
    one, three = graph(tmp_path, ""), graph(tmp_path, "replicates: 3\n")
    assert set(one) <= set(three)
    assert three.count("pairs") == 1 and "pairs.2" not in three
    for name in ("train-sbp", "tune", "synthesize", "evaluate"):
        assert {f"{name}.2", f"{name}.3"} <= set(three)


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*/*.yaml")), ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_names_of_stages_are_unique_in_every_example(file):
    names = [stage.name for stage in all_stages(load_recipe(file))]
    assert len(set(names)) == len(names) and names[0] == "documents" and names[-1] == "report"


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*/*.yaml")), ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_verb_is_a_file(file):
    """Training and export are one file each, whatever the arm or model."""
    for stage in all_stages(load_recipe(file)):
        inner = getattr(stage, "stage", stage)
        verb = stage.name.partition(".")[0]
        own = (
            "train" if verb.startswith("train-") else "export" if verb.startswith("export-") else verb.replace("-", "_")
        )
        assert type(inner).__module__ == f"megatron_sbp.stages.{own}", stage.name
