"""Every parallel layout trains like one rank: losses of 15 steps from one checkpoint, documents and packed pairs."""

from __future__ import annotations

import shutil

import pytest
from support.megatron_ranks import ServedMegatron

pytestmark = pytest.mark.timeout(900)

TOLERANCE = 1e-5
"""Largest difference of a loss, float32."""

STEPS, BATCH = 15, 8
KINDS = {
    "documents": ({"real": 200, "synthetic": 40}, []),
    "pairs": ({"pairs": 240}, ["--calculate-per-token-loss"]),
}
# Megatron pads the vocabulary to a multiple of this times TP, and padded entries take part in the softmax.
PADDED = ["--make-vocab-size-divisible-by", "64"]
LAYOUTS = {
    "data": (2, ["--use-distributed-optimizer", "--dist-ckpt-optim-fully-reshardable"]),
    "tensor": (2, ["--tensor-model-parallel-size", "2", *PADDED]),
    "pipeline": (2, ["--pipeline-model-parallel-size", "2"]),
    "virtual pipeline": (
        2,
        ["--pipeline-model-parallel-size", "2", "--num-virtual-stages-per-pipeline-rank", "2"],
    ),
    "tensor and pipeline": (
        4,
        ["--tensor-model-parallel-size", "2", "--pipeline-model-parallel-size", "2", *PADDED],
    ),
}
SELDOM = {
    ("documents", "data"), ("documents", "tensor"), ("documents", "pipeline"), ("documents", "tensor and pipeline"),
    ("pairs", "tensor"), ("pairs", "virtual pipeline"),
}  # fmt: skip
"""For `make test-all`: `make test` has each of their parts in other cases."""

MODEL = ["--num-layers", "4", "--log-interval", "1", "--eval-interval", "5"]


@pytest.fixture(scope="module")
def serial(corpus, tmp_path_factory, rank_server):
    """A checkpoint after one step, and the losses of one rank that resumes from it, for both kinds of data."""
    megatron = ServedMegatron(corpus, tmp_path_factory.mktemp("parallel"), rank_server)
    megatron.data("origin", KINDS["documents"][0])
    megatron.train("origin", STEPS * BATCH, *MODEL, "--save-interval", "1", "--exit-interval", "1", status=3)
    losses = {}
    for kind in KINDS:
        losses[kind] = go_on(megatron, kind, "serial", 1, [])
        # There must be something to agree on: the loss falls.
        assert losses[kind][STEPS] < losses[kind][1] - 0.05
    return megatron, losses


def go_on(megatron, kind: str, layout: str, ranks: int, flags: list[str]) -> dict[int, float]:
    """Losses of 15 steps from the checkpoint of `origin`."""
    sources, needed = KINDS[kind]
    name = f"{kind}-{layout.replace(' ', '-')}"
    target, origin = megatron.data(name, sources, kind), megatron.folder / "origin"
    shutil.copytree(origin / "iter_0000001", target / "iter_0000001")
    shutil.copy(origin / "latest_checkpointed_iteration.txt", target)
    fresh = ["--finetune", "--no-load-optim", "--no-load-rng"]
    megatron.train(name, STEPS * BATCH, *MODEL, *needed, *flags, *fresh, ranks=ranks)
    return megatron.losses(name)


@pytest.mark.parametrize(
    ("kind", "layout"),
    [
        pytest.param(kind, layout, marks=[pytest.mark.exhaustive] if (kind, layout) in SELDOM else [])
        for kind in KINDS
        for layout in LAYOUTS
    ],
)
def test_losses_are_those_of_one_rank(serial, kind, layout):
    megatron, expected = serial
    losses = go_on(megatron, kind, layout, *LAYOUTS[layout])
    assert losses.keys() == expected[kind].keys() == set(range(1, STEPS + 1))
    worst = max(abs(losses[step] - expected[kind][step]) for step in losses)
    print(f"{kind}, {layout}: largest difference of a loss in {STEPS} steps {worst:.1e}")
    assert worst <= TOLERANCE
