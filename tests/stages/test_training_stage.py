"""What the stages that train share: the command, damage, progress."""

from __future__ import annotations

import pytest
from support.training_stages import run_of

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.checkpoint import seals, tracker
from megatron_sbp.planning import ledger
from megatron_sbp.stages.stage import Damage
from megatron_sbp.stages.train import TrainStage
from megatron_sbp.stages.training_stage import arguments_of
from megatron_sbp.stages.tune import TuneStage
from megatron_sbp.training.metrics import Metrics

SBP, TUNE = TrainStage("train-sbp", "sbp", "x"), TuneStage()


def test_the_command_names_this_training_and_its_samples(tmp_path):
    run = run_of(tmp_path)
    words = arguments_of(run, "sbp")
    assert str(run.model("sbp") / "data.json") in words
    assert int(words[words.index("--train-samples") + 1]) == sum(ledger.arm_samples(run.recipe, "sbp").values())
    tuning = arguments_of(run, "synthesizer", samples=32)
    assert tuning[tuning.index("--train-samples") + 1] == "32"


def test_damage_says_what_can_be_done(tmp_path):
    run = run_of(tmp_path)
    found = [
        Damage("models/sbp/iter_0000010/x", "is missing", gone=True),
        Damage("models/sbp/a", "changed", gone=False),
    ]
    with pytest.raises(InputError, match=r"and 1 more; no intact checkpoint is left .*--discard train-sbp"):
        SBP.check_damage(run, found, repair=True, discard=False)
    SBP.check_damage(run, found, repair=False, discard=True)


def test_a_tuning_whose_best_checkpoint_is_damaged_does_not_end(tmp_path):
    """What helps is said, and helps: the runner finds the same at the next start."""
    run = run_of(tmp_path)
    folder = run.model("synthesizer")
    for iteration in (2, 4, 6):
        checkpoint = tracker.checkpoint_folder(folder, iteration)
        checkpoint.mkdir(parents=True)
        (checkpoint / "metadata.json").write_text("{}")
        seals.seal(folder, iteration)
    (folder / tracker.NAME).write_text("6")
    (folder / "stopped.txt").touch()
    files.write_json(folder / "consumed.json", {"export_iteration": 4})
    TUNE._refuse_damage(run)
    (tracker.checkpoint_folder(folder, 4) / "metadata.json").write_text("{ }")
    with pytest.raises(
        InputError, match=r"iter_0000004/metadata.json has 3 bytes.*--repair tune .*iteration 2 "
    ) as told:
        TUNE._refuse_damage(run)
    assert told.value.file == tracker.checkpoint_folder(folder, 4) / "metadata.json"
    run.root.joinpath("aside").mkdir()
    TUNE.repair(run, TUNE.unfinished_damage(run))
    assert tracker.read(folder) == 2 and TUNE.unfinished_damage(run) == []


def test_under_slurm_it_is_the_same_stage():
    stage = SBP.under(["srun", "-n", "2"])
    assert (stage.name, stage.training, stage.title) == (SBP.name, SBP.training, SBP.title) and stage.srun[0] == "srun"


def test_progress_is_that_of_the_last_logged_step(tmp_path):
    run = run_of(tmp_path)
    assert SBP.progress(run) == ""
    metrics = Metrics(run.model("sbp") / "metrics.jsonl")
    metrics.path.parent.mkdir(parents=True)
    row = {"iteration": 20, "samples": 160, "tokens": 20480, "loss": 5.4321, "tokens_per_second": 2048.0}
    metrics.append({"kind": "train", **row})
    metrics.append({"kind": "valid", "iteration": 20, "samples": 160, "loss": 5.5})
    with open(metrics.path, "ab") as file:
        file.write(b'{"kind": "train", "iteration": 21, "half')
    told = SBP.progress(run)
    assert told.startswith("step 20, 160 of 320 samples (50%), 10.0s left, loss 5.432, 2,048 tokens/s; written "), told
    (run.model("synthesizer")).mkdir()
    metrics.path.rename(run.model("synthesizer") / "metrics.jsonl")
    assert TUNE.progress(run).startswith("step 20, loss 5.432, 2,048 tokens/s")
