"""What TensorBoard and Weights & Biases get of a training."""

from __future__ import annotations

import pytest

from megatron_sbp.recipe.sections import Launch
from megatron_sbp.training.launch import environment

pytestmark = pytest.mark.timeout(300)


def test_tensorboard_has_the_curves_to_the_last_step(megatron):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = megatron.data("run", {"real": 40})
    megatron.train("run", 40, "--tensorboard-dir", str(folder / "tensorboard"))
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    losses = {event.step: event.value for event in events.Scalars("lm loss")}
    assert losses == pytest.approx(megatron.losses("run"), rel=1e-6) and max(losses) == 5
    assert {event.step for event in events.Scalars("tokens per second")} == set(losses)
    assert {event.step for event in events.Scalars("lm loss of real")} == {5}
    held_out = {event.step: event.value for event in events.Scalars("lm loss validation")}
    assert held_out == pytest.approx(megatron.losses("run", "valid"), rel=1e-6)


def test_weights_and_biases_keeps_its_files_here(megatron):
    """Offline, as the launcher sets it."""
    folder = megatron.data("run", {"real": 40})
    flags = ("--wandb-project", "papers", "--wandb-exp-name", "tiny/run", "--wandb-save-dir", str(folder / "wandb"))
    megatron.train("run", 40, *flags)
    [run] = (folder / "wandb" / "wandb").glob("offline-run-*")
    [log] = run.glob("run-*.wandb")
    content = log.read_bytes()
    assert b"tiny/run" in content and b"lm loss" in content


@pytest.mark.parametrize(("given", "mode"), [(None, "offline"), ("online", "online")])
def test_nothing_is_sent_unless_the_user_says_so(monkeypatch, given, mode):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if given:
        monkeypatch.setenv("WANDB_MODE", given)
    assert environment(Launch())["WANDB_MODE"] == mode
