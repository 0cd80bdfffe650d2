"""Short training runs through the real entry point on one CUDA device."""

from __future__ import annotations

import pytest
from gpu.conftest import FRESH, KINDS
from support.gpu_marks import gpus, transformer_engine

pytestmark = gpus(1)

TORCH = ("--transformer-impl", "local", "--no-persist-layer-norm")
"""Without Transformer Engine, even where it is."""

WIDE = ("--kv-channels", "64")
"""A head that every attention kernel takes."""


def worst(one: dict[int, float], other: dict[int, float]) -> float:
    """Largest difference of two training runs' losses; both must have every step."""
    assert one.keys() == other.keys() == set(range(1, 11))
    return max(abs(one[step] - other[step]) for step in one)


@pytest.mark.parametrize("kind", KINDS)
def test_losses_agree_with_the_cpu(on_gpu, on_cpu, kind):
    """Ten fp32 steps from one checkpoint: losses within 1e-3. Sums run in another order, and Adam magnifies what that
    does to small gradients; a wrong mask or a lost sample is off by hundredths."""
    sources, flags = KINDS[kind]
    on_cpu.data("origin", KINDS["documents"][0])
    on_cpu.train("origin", 80, "--save-interval", "1", "--exit-interval", "1")
    for name, place, more in (("cpu", on_cpu, ()), ("gpu", on_gpu, TORCH)):
        on_gpu.start_from("origin", name, kind, sources)
        place.train(name, 80, *flags, *FRESH, *more)
    losses = on_gpu.losses("gpu")
    assert worst(losses, on_gpu.losses("cpu")) < 1e-3
    assert losses[10] < losses[1] - 0.05  # there is something to agree on


def test_bf16_follows_fp32(on_gpu):
    """Losses within 0.03 over ten steps from one checkpoint."""
    sources, _ = KINDS["documents"]
    on_gpu.data("origin", sources)
    on_gpu.train("origin", 80, *TORCH, "--save-interval", "1", "--exit-interval", "1")
    for name, more in (("fp32", ()), ("bf16", ("--bf16",))):
        on_gpu.start_from("origin", name, "documents", sources)
        on_gpu.train(name, 80, *FRESH, *TORCH, *more)
    assert worst(on_gpu.losses("bf16"), on_gpu.losses("fp32")) < 0.03


@pytest.mark.parametrize("kind", KINDS)
def test_resume_in_deterministic_mode_is_bit_equal(on_gpu, kind):
    """Stopped after step 5 and started again: the losses of the training that ran through, to the last bit."""
    sources, flags = KINDS[kind]
    flags = (*flags, *TORCH, "--deterministic-mode")
    for name in ("whole", "halves"):
        on_gpu.data(name, sources, kind)
    on_gpu.train("whole", 80, *flags)
    on_gpu.train("halves", 80, *flags, "--save-interval", "5", "--exit-interval", "5")
    assert sorted(on_gpu.losses("halves")) == [1, 2, 3, 4, 5]
    on_gpu.train("halves", 80, *flags)
    assert on_gpu.losses("halves") == on_gpu.losses("whole")


@transformer_engine
@pytest.mark.parametrize("kind", KINDS)
def test_transformer_engine_agrees_with_torch(on_gpu, kind):
    """bf16 from one checkpoint: losses within 0.03 over ten steps. Pairs need the same attention inside each."""
    sources, flags = KINDS[kind]
    on_gpu.data("origin", KINDS["documents"][0])
    on_gpu.train("origin", 80, *WIDE, *TORCH, "--save-interval", "1", "--exit-interval", "1")
    # Transformer Engine's layers ask for fp8 states that the checkpoint of torch's layers does not have.
    for name, more in (("torch", TORCH), ("engine", ("--dist-ckpt-strictness", "log_all"))):
        on_gpu.start_from("origin", name, kind, sources)
        on_gpu.train(name, 80, *flags, *FRESH, *WIDE, "--bf16", *more)
    assert worst(on_gpu.losses("engine"), on_gpu.losses("torch")) < 0.03


def compare_builders(on_gpu, kind: str, *flags: str) -> float:
    """Worst difference of the losses of Megatron's two models, from the same initial weights, without and after a
    resume of each from the other's checkpoint."""
    sources, own = KINDS[kind]
    builders = ("gpt", "hybrid")
    for name in builders:
        for folder, other in ((name, name), (f"{name}-second", next(one for one in builders if one != name))):
            on_gpu.data(folder, sources, kind)
            words = (*own, *flags, "--save-interval", "5")
            on_gpu.train(folder, 80, *words, "--exit-interval", "5", "--sbp-model-builder", other)
            on_gpu.train(folder, 80, *words, "--sbp-model-builder", name)
    losses = [on_gpu.losses(folder) for name in builders for folder in (name, f"{name}-second")]
    assert losses[0][10] < losses[0][1] - 0.05  # there is something to agree on
    return max(worst(one, losses[0]) for one in losses[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_builders_agree(on_gpu, kind):
    """fp32 in deterministic mode, within 1e-6."""
    assert compare_builders(on_gpu, kind, *TORCH, "--deterministic-mode") < 1e-6


@transformer_engine
@pytest.mark.parametrize("kind", KINDS)
def test_builders_agree_with_transformer_engine(on_gpu, kind):
    """bf16, within 0.01."""
    assert compare_builders(on_gpu, kind, *WIDE, "--bf16") < 0.01
