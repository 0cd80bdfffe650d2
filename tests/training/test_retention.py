"""Which checkpoints of a running tuning stay, whatever happens next."""

from __future__ import annotations

import itertools

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.checkpoint import seals, tracker
from megatron_sbp.training.early_stopping import best
from megatron_sbp.training.metrics import Metrics, read_metrics
from megatron_sbp.training.retention import kept, remove_unneeded


def evaluate(folder, iteration: int, loss: float) -> None:
    Metrics(folder / "metrics.jsonl").append({"kind": "train", "iteration": iteration, "loss": 1.0})
    Metrics(folder / "metrics.jsonl").append({"kind": "valid", "iteration": iteration, "loss": loss})


def save(folder, iteration: int) -> None:
    checkpoint = tracker.checkpoint_folder(folder, iteration)
    checkpoint.mkdir()
    for name in ("__0_0.distcp", "metadata.json"):
        (checkpoint / name).write_text(name)
    (folder / tracker.NAME).write_text(str(iteration))
    seals.seal(folder, iteration)


def train(folder, *losses: float) -> None:
    """One checkpoint for each evaluation, every ten steps; the first loss is that before the first step."""
    evaluate(folder, 0, losses[0])
    for place, loss in enumerate(losses[1:], start=1):
        evaluate(folder, 10 * place, loss)
        save(folder, 10 * place)
        remove_unneeded(folder)


def left(folder) -> list[int]:
    return list(tracker.written(folder))


@pytest.mark.parametrize(
    "losses, expected",
    [
        ((0.5, 4.0, 3.0, 2.0, 1.0), [30, 40]),  # always better: the last two; the loss before the first step counts not
        ((5.0, 1.0, 2.0, 3.0, 4.0), [10, 30, 40]),  # the best long ago
        ((5.0, 3.0, 4.0, 5.0, 2.0), [10, 30, 40]),  # the last is best: up to the one before, another was
        ((5.0, 2.0, 2.0, 2.0, 2.0), [10, 30, 40]),  # the earliest of equals
        ((5.0, 2.0), [10]),
    ],
)
def test_the_last_two_and_the_best(tmp_path, losses, expected):
    train(tmp_path, *losses)
    assert left(tmp_path) == expected
    assert sorted(int(file.stem) for file in (tmp_path / "seals").iterdir()) == expected


def test_whatever_the_losses_the_best_is_there_at_the_end_and_after_going_back(tmp_path):
    for number, losses in enumerate(itertools.permutations([1.0, 2.0, 3.0, 4.0])):
        folder = tmp_path / str(number)
        folder.mkdir()
        train(folder, 9.0, *losses)
        rows = read_metrics(folder / "metrics.jsonl")
        assert best(rows)["iteration"] in left(folder) and len(left(folder)) <= 3 and left(folder)[-2:] == [30, 40]
        assert best([row for row in rows if row["iteration"] <= 30])["iteration"] in left(folder)


def test_an_evaluation_whose_checkpoint_was_not_saved_yet_removes_nothing(tmp_path):
    train(tmp_path, 5.0, 2.0, 3.0, 4.0)
    evaluate(tmp_path, 40, 1.0)  # killed before its checkpoint: another start may find another loss
    half = tracker.checkpoint_folder(tmp_path, 40)
    half.mkdir()
    remove_unneeded(tmp_path)
    assert left(tmp_path) == [10, 20, 30, 40]


def test_a_tracker_that_is_being_written_removes_nothing(tmp_path, monkeypatch):
    """Megatron writes it in place: there at one look, and empty at the next."""
    train(tmp_path, 5.0, 1.0, 2.0, 3.0, 4.0)
    save(tmp_path, 50)
    looks = iter([None, 50, None, None])
    monkeypatch.setattr(tracker, "peek", lambda folder: next(looks))
    remove_unneeded(tmp_path)
    assert left(tmp_path) == [10, 30, 40, 50]
    remove_unneeded(tmp_path)
    assert left(tmp_path) == [10, 40, 50]


def test_a_checkpoint_saved_on_request_without_an_evaluation(tmp_path):
    train(tmp_path, 5.0, 2.0, 3.0)
    for iteration in (25, 27):
        save(tmp_path, iteration)
        remove_unneeded(tmp_path)
    assert left(tmp_path) == [10, 25, 27]


def test_a_removal_that_was_cut_off_is_completed(tmp_path):
    train(tmp_path, 5.0, 2.0, 3.0)
    partial = tracker.checkpoint_folder(tmp_path, 5)
    partial.mkdir()
    (partial / "__0_0.distcp").write_text("left")
    remove_unneeded(tmp_path)
    assert left(tmp_path) == [10, 20]


def test_other_folders_and_what_comes_after_the_last_stay(tmp_path):
    train(tmp_path, 5.0, 2.0, 3.0, 4.0, 5.0)
    (tmp_path / "iter_0000020.bak").mkdir()
    tracker.checkpoint_folder(tmp_path, 50).mkdir()
    remove_unneeded(tmp_path)
    assert left(tmp_path) == [10, 30, 40, 50] and (tmp_path / "iter_0000020.bak").exists()


def test_nothing_is_removed_without_a_checkpoint_or_with_damaged_metrics(tmp_path):
    remove_unneeded(tmp_path)
    train(tmp_path, 5.0, 2.0, 3.0)
    save(tmp_path, 30)
    file = tmp_path / "metrics.jsonl"
    file.write_text(file.read_text().replace("2.0", "6.0"))
    with pytest.raises(InputError, match="was changed"):
        remove_unneeded(tmp_path)
    with pytest.raises(InputError):
        kept(tmp_path, 30)
    assert left(tmp_path) == [10, 20, 30]
