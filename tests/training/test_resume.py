"""What a new start finds of a training that was killed at its very end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.training.resume import already_ended, check_precision, check_settings


def fill(folder: Path, iterations: list[int], valid: dict[int, float]) -> None:
    """A training folder with complete (and otherwise empty) checkpoints and validation rows."""
    for iteration in iterations:
        (folder / f"iter_{iteration:07d}").mkdir(parents=True)
        (folder / f"iter_{iteration:07d}" / "metadata.json").write_text("{}")
    (folder / "latest_checkpointed_iteration.txt").write_text(str(iterations[-1]))
    rows = [{"kind": "valid", "iteration": iteration, "loss": loss} for iteration, loss in valid.items()]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def ended(folder: Path, samples: int = 40 * 8, patience: int = 0) -> bool:
    return already_ended(folder, samples=samples, global_batch_size=8, patience=patience)


def test_an_unfinished_training_continues(tmp_path):
    assert not ended(tmp_path)
    fill(tmp_path, [8, 16], {})
    assert not ended(tmp_path)


def test_the_last_checkpoint_with_its_evaluation_is_the_end(tmp_path):
    fill(tmp_path, [32, 40], {40: 5.0})
    assert ended(tmp_path)
    assert (tmp_path / "stopped.txt").read_text() == "end of the plan"
    assert ended(tmp_path, samples=1000)  # what was recorded counts


def test_why_it_stopped_is_known_even_if_it_was_killed_while_it_said_so(tmp_path):
    fill(tmp_path, [32, 40], {40: 5.0})
    (tmp_path / "stopped.txt").touch()
    assert ended(tmp_path)
    assert (tmp_path / "stopped.txt").read_text() == "end of the plan"


@pytest.mark.parametrize("iterations", [[32, 40], [40]])
def test_without_its_evaluation_it_has_not_ended_and_nothing_is_thrown_away(tmp_path, iterations):
    fill(tmp_path, iterations, {20: 5.0})
    assert not ended(tmp_path)
    assert (tmp_path / "latest_checkpointed_iteration.txt").read_text() == "40"
    assert not (tmp_path / "stopped.txt").exists()


def test_a_tuning_that_was_out_of_patience_stays_so(tmp_path):
    fill(tmp_path, [5, 10, 15], {0: 4.0, 5: 3.0, 10: 3.1, 15: 3.2})
    assert ended(tmp_path, 800, patience=2)
    assert (tmp_path / "stopped.txt").read_text() == "no better validation loss in 2 evaluations"


def test_rows_after_the_checkpoint_do_not_count(tmp_path):
    fill(tmp_path, [5, 10], {0: 4.0, 5: 3.0, 10: 3.1, 15: 3.2})
    assert not ended(tmp_path, 800, patience=2)


def test_the_precision_of_an_unfinished_training_is_kept(tmp_path):
    check_precision(tmp_path, "bf16")
    check_precision(tmp_path, "fp32")  # nothing is saved yet
    fill(tmp_path, [5], {})
    check_precision(tmp_path, "fp32")
    with pytest.raises(
        InputError, match=r"'training\.precision': this training run started in fp32, but the recipe says bf16"
    ):
        check_precision(tmp_path, "bf16")
    (tmp_path / "stopped.txt").touch()
    check_precision(tmp_path, "bf16")
    assert (tmp_path / "precision.txt").read_text() == "fp32"


def test_checkpoints_of_other_settings_are_refused(tmp_path):
    first = {"seed": 3, "training": {"learning_rate": 0.1, "betas": [0.9, 0.95]}}
    check_settings(tmp_path, {"seed": 1})
    check_settings(tmp_path, first)  # nothing is trained yet
    fill(tmp_path, [5], {})
    check_settings(tmp_path, {**first, "of a later version": 1})
    with pytest.raises(InputError) as caught:
        check_settings(tmp_path, {"seed": 4, "training": {"learning_rate": 0.1, "betas": [0.9, 0.99]}})
    assert "seed was 3, is 4" in str(caught.value) and f"move {tmp_path} away to train again" in str(caught.value)
    assert "training.betas[1] was 0.95, is 0.99" in str(caught.value)


def test_checkpoints_of_before_settings_were_recorded_are_taken(tmp_path):
    fill(tmp_path, [5], {})
    check_settings(tmp_path, {"seed": 3})
    with pytest.raises(InputError, match="seed was 3, is 4"):
        check_settings(tmp_path, {"seed": 4})
