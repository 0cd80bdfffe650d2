"""What the training of an arm reads, and which settings make it another one."""

from __future__ import annotations

import pytest
from support.training_stages import run_of

from megatron_sbp.stages.train import TrainStage

SBP = TrainStage("train-sbp", "sbp", "x")


def test_an_arm_reads_only_its_own_data(tmp_path):
    run = run_of(tmp_path)
    baseline, oracle = (TrainStage(f"train-{arm}", arm, "x").reads(run) for arm in ("baseline", "oracle"))
    assert SBP.reads(run)["tokenize-synthetic"] == ("tokens/synthetic.*",)
    assert "tokenize-synthetic" not in baseline and "tokens/real.*" in baseline["tokenize"]
    assert "tokens/oracle.*" in oracle["tokenize"] and "tokens/real.*" not in oracle["tokenize"]


@pytest.mark.parametrize(
    "override",
    [
        "training.learning_rate=2e-3",
        "model.norm_epsilon=1e-6",
        "training.weight_decay=0.3",
        "seed=5",
        "training.epochs=joint",
    ],
)
def test_what_changes_the_weights_is_another_training(tmp_path, override):
    assert SBP.settings(run_of(tmp_path)) != SBP.settings(run_of(tmp_path, override))


@pytest.mark.parametrize(
    "override",
    ["training.save_interval=7", "training.log_interval=3", "training.eval_interval=9", "launch.threads_per_rank=2",
     "pairs.alpha=0.9", "training.model_builder=hybrid"],
)  # fmt: skip
def test_what_changes_only_how_it_is_done_is_not(tmp_path, override):
    assert SBP.settings(run_of(tmp_path)) == SBP.settings(run_of(tmp_path, override))
