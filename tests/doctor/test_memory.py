"""The planned memory of every training, tuning included, against a stated GPU."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.doctor.memory import fits
from megatron_sbp.planning.plan import make_plan
from megatron_sbp.recipe import load_recipe

PAPER = Path(__file__).parents[2] / "examples" / "sbp_3b_200b" / "recipe.yaml"


def findings(device_bytes: int, *words: str) -> list:
    return list(fits(make_plan(load_recipe(PAPER, words))["memory"]["trainings"], device_bytes))


def test_the_papers_model_on_large_and_on_small_gpus():
    (large,) = findings(80_000_000_000)
    assert large.status == "ok" and "4 of 4 training runs fit" in large.text
    small = findings(24_000_000_000)
    assert [entry.status for entry in small] == ["fail"] * 4
    assert {entry.text.split()[0] for entry in small} == {"train-baseline", "train-sbp", "train-oracle", "tune"}
    assert all("24 GB" in entry.text and "micro_batch_size" in entry.remedy for entry in small)


def test_a_tuning_alone_can_be_too_large():
    found = findings(80_000_000_000, "tuning.micro_batch_size=2", "tuning.sequence_length=32768")
    assert [entry.status for entry in found] == ["ok", "fail"] and found[1].text.startswith("tune needs")


def test_hardly_enough_is_a_warning():
    total = make_plan(load_recipe(PAPER))["memory"]["trainings"]["train-sbp"]["total"]
    assert {entry.status for entry in findings(int(total * 1.05), "tuning.micro_batch_size=2")} == {"warn"}
