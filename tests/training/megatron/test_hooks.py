"""What a training says and writes down: the block at its start, rates, losses by source, TensorBoard."""

from __future__ import annotations

import json

import pytest

from megatron_sbp.planning import cost
from megatron_sbp.recipe import Model

pytestmark = pytest.mark.timeout(300)


def test_a_training_tells_its_user(megatron):
    folder = megatron.data("told", {"real": 60, "synthetic": 20})
    board = megatron.folder / "board"
    flags = ["--sbp-peak-tflops", "0.5", "--tensorboard-dir", str(board), "--tensor-model-parallel-size", "2"]
    text = megatron.train("told", 80, *flags, "--make-vocab-size-divisible-by", "64", ranks=2)

    block = dict(
        line.removeprefix("sbp: ").split("  ", 1) for line in text.splitlines() if line.startswith("sbp: data")
    )
    assert "60 samples" in block["data real"] and "strict epochs of" in block["data real"]
    assert "20 samples, each used once" in block["data synthetic"]
    model = Model(
        num_layers=2, hidden_size=32, ffn_hidden_size=64, num_attention_heads=4, num_query_groups=2, kv_channels=8,
        qk_layernorm=True, tied_embeddings=True, sequence_length=96,
    )  # fmt: skip
    # Counted on two tensor-parallel ranks, against arithmetic.
    assert f" {cost.parameters(model, 384).total:,} parameters, HybridModel, 2 layers" in text
    assert "2 ranks = data 1 x tensor 2 x pipeline 1 x context 1" in text
    assert "MFU against 0.5 TFLOP/s (given)" in text and "scaled_dot_product_attention" in text

    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    trained = [row for row in rows if row["kind"] == "train"]
    flops = cost.training_flops(model, 384, 8)
    for row in trained:
        assert row["tflops_per_rank"] == pytest.approx(flops / row["seconds"] / 2 / 1e12, rel=0.02)
        assert row["mfu"] == pytest.approx(row["tflops_per_rank"] / 0.5)
    evaluated = [row["train_loss_by_source"] for row in rows if row["kind"] == "valid"]
    tokens = {name: sum(row[name]["tokens"] for row in evaluated) for name in ("real", "synthetic")}
    assert tokens == {"real": 60 * 96, "synthetic": 20 * 96}
    # The sources' losses, weighted by their tokens, are the mean training loss.
    weighted = sum(row[name]["loss"] * row[name]["tokens"] for row in evaluated for name in tokens)
    assert weighted / (80 * 96) == pytest.approx(sum(row["loss"] for row in trained) / len(trained), abs=1e-5)
    assert "train loss (real)" in text and "train loss (synthetic)" in text

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(board))
    events.Reload()
    assert {"lm loss of real", "lm loss of synthetic", "tokens per second", "MFU", "lm loss"} <= set(
        events.Tags()["scalars"]
    )


def test_an_evaluation_does_not_parse_the_rows_of_all_steps(tmp_path):
    """All ranks wait for it: with 200,000 rows it took 16 seconds."""
    from types import SimpleNamespace

    from megatron_sbp.training.megatron.hooks import LoopHooks

    trainer = SimpleNamespace(args=SimpleNamespace(sbp_save_file=None), folder=tmp_path)
    journal = LoopHooks(trainer, None, None)
    journal.metrics.append({"kind": "valid", "iteration": 4, "loss": 2.0})
    with open(journal.metrics.path, "a") as file:
        file.write('{"kind": "train", which is not parsed}\n')
    assert journal._row_of_evaluation(4) and not journal._row_of_evaluation(5)


def test_what_was_recorded_is_on_disk_before_a_checkpoint_is_saved(tmp_path, monkeypatch):
    """A checkpoint is; without these rows a machine that crashed after it made the training fail at its very end."""
    import os
    from pathlib import Path
    from types import SimpleNamespace

    from megatron_sbp.training.consumption import Recorder
    from megatron_sbp.training.megatron.hooks import WRAPPED, LoopHooks

    flushed: list[str] = []
    sync = os.fsync

    def fsync(descriptor):
        flushed.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        sync(descriptor)

    training = SimpleNamespace(**{name: lambda *args, **kwargs: list(flushed) for name in WRAPPED})
    trainer = SimpleNamespace(args=SimpleNamespace(sbp_save_file=None), folder=tmp_path, recorder=None)
    journal = LoopHooks(trainer, None, None)
    journal.attach(training)
    for last in (False, True):
        monkeypatch.setattr(LoopHooks, "last_rank", staticmethod(lambda last=last: last))
        training.save_checkpoint_and_time(0)  # nothing is recorded yet
    trainer.recorder = Recorder(tmp_path / "consumed", 3)
    journal.metrics.append({"kind": "valid", "iteration": 4, "loss": 2.0})
    monkeypatch.setattr(os, "fsync", fsync)
    saved_after = training.save_checkpoint_and_time(4)
    assert saved_after == [str(tmp_path / "consumed/00003.i64"), str(tmp_path / "metrics.jsonl")]


def test_a_checkpoint_that_is_saved_anyway_is_not_saved_on_request(tmp_path):
    """Saved twice, the last one was taken for damaged: its seal could be that of the first time."""
    from types import SimpleNamespace

    from megatron_sbp.training.megatron.hooks import LoopHooks

    args = SimpleNamespace(sbp_save_file=tmp_path / "save", log_interval=1, train_iters=40)
    journal = LoopHooks(SimpleNamespace(args=args, folder=tmp_path), None, None)
    (tmp_path / "save").touch()
    assert not journal._save_is_asked(40)  # no rank asks the others
