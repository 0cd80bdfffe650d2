"""What stays of a training that has ended."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.checkpoint import tracker
from megatron_sbp.training import consumption
from megatron_sbp.training.damage import damaged_checkpoint
from megatron_sbp.training.data.data_file import DataFile, Source
from megatron_sbp.training.finalize import finalize

LOSSES = {0: 5.0, 2: 3.0, 4: 3.5}


@pytest.fixture
def folder(corpus, tmp_path) -> Path:
    """A training of four steps of eight samples, evaluated and saved at every second step; the second one is best."""
    folder = tmp_path / "models" / "baseline"
    for iteration in (2, 4):
        checkpoint = tracker.checkpoint_folder(folder, iteration)
        checkpoint.mkdir(parents=True)
        (checkpoint / "metadata.json").write_text("{}")
    prefix = os.path.relpath(corpus / "real", folder)
    data = DataFile("documents", [Source("real", prefix, 32)], Source("valid", prefix, 8), 64, 1, "strict", 0, 1, 2)
    data.write(folder / "data.json")
    recorder = consumption.Recorder(folder / "consumed", 0)
    for step in range(4):
        recorder.record(step, np.zeros(8, np.int64), np.arange(8 * step, 8 * step + 8))
    rows = [{"kind": "valid", "iteration": iteration, "loss": loss} for iteration, loss in LOSSES.items()]
    rows += [{"kind": "train", "iteration": n, "seconds": 0.5, "tokens_per_second": 1024.0} for n in range(1, 5)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / tracker.NAME).write_text("4")
    (folder / "stopped.txt").write_text("end of the plan")
    (folder / "precision.txt").write_text("fp32")
    (folder / "cache").mkdir()
    return folder


def checkpoints(folder: Path) -> list[str]:
    assert not (folder / "cache").exists()
    return sorted(path.name for path in folder.glob("iter_*"))


@pytest.mark.parametrize("keep_best", [False, True])
def test_an_arm_keeps_its_last_checkpoint_and_on_request_its_best(folder, keep_best):
    kept = finalize(folder, "baseline", samples=32, global_batch_size=8, keep_best=keep_best)
    assert checkpoints(folder) == ["iter_0000002", "iter_0000004"][not keep_best :]
    assert {path.parent.name for path in kept if path.name == "metadata.json"} == set(checkpoints(folder))
    found = files.read_json(folder / "consumed.json")
    assert found["best"] == {"iteration": 2, "valid_loss": 3.0, "kept": keep_best}
    assert (found["iterations"], found["export_iteration"], found["train_tokens"]) == (4, 4, 32 * 64)
    assert (found["seconds"], found["tokens_per_second"]) == (2.0, 32 * 64 / 2.0)
    assert found["datasets"]["real"]["samples"] == 32


def test_further_checkpoints_that_are_wanted(folder):
    kept = finalize(folder, "sbp", samples=32, global_batch_size=8, keep_best=False, keep=[2])
    assert checkpoints(folder) == ["iter_0000002", "iter_0000004"]
    assert {path.parent.name for path in kept if path.name == "metadata.json"} == set(checkpoints(folder))
    assert files.read_json(folder / "consumed.json")["export_iteration"] == 4


def test_the_synthesizer_exports_its_best_checkpoint(folder):
    finalize(folder, "synthesizer", samples=32, global_batch_size=8, keep_best=False)
    assert checkpoints(folder) == ["iter_0000002", "iter_0000004"]
    found = files.read_json(folder / "consumed.json")
    assert (found["export_iteration"], found["best_valid_loss"], found["valid_loss_before"]) == (2, 3.0, 5.0)
    assert "best" not in found


def test_damage_is_refused_before_anything_is_removed(folder):
    def refuse() -> None:
        assert damaged_checkpoint(folder) is not None  # consumed.json says what the results are
        raise InputError("damaged")

    (tracker.checkpoint_folder(folder, 2) / "metadata.json").unlink()
    with pytest.raises(InputError, match="damaged"):
        finalize(folder, "synthesizer", samples=32, global_batch_size=8, keep_best=False, refuse_damage=refuse)
    assert list(tracker.written(folder)) == [2, 4]


def test_steps_that_no_line_was_logged_after_do_not_count_as_done_in_no_time(folder):
    """Stopped after the third step, whose checkpoint the next start resumed from, with a line for every second step."""
    file = folder / "metrics.jsonl"
    rows = [row for row in map(json.loads, file.read_text().splitlines()) if row["kind"] == "valid"]
    for iteration, seconds in ((2, 1.0), (4, 0.5)):
        rows.append({"kind": "train", "iteration": iteration, "seconds": seconds, "tokens_per_second": 1024.0})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    finalize(folder, "baseline", samples=32, global_batch_size=8, keep_best=False)
    found = files.read_json(folder / "consumed.json")
    assert (found["train_tokens"], found["seconds"], found["tokens_per_second"]) == (32 * 64, 1.5, 1024.0)


def test_a_tuning_that_stopped_before_the_first_line_was_logged(folder):
    """With tuning.eval_interval 2 and patience 1, and training.log_interval 10."""
    file = folder / "metrics.jsonl"
    rows = [row for row in map(json.loads, file.read_text().splitlines()) if row["kind"] == "valid"]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    finalize(folder, "synthesizer", samples=32, global_batch_size=8, keep_best=False)
    found = files.read_json(folder / "consumed.json")
    assert (found["train_tokens"], found["seconds"], found["tokens_per_second"]) == (32 * 64, 0, None)
