"""Two GPUs train what one trains: data, tensor, pipeline, sequence and context parallelism over NCCL."""

from __future__ import annotations

import pytest
from gpu.conftest import FRESH, KINDS
from gpu.test_training_on_gpu import TORCH, WIDE, worst
from support.gpu_marks import DEVICES, gpus, transformer_engine

pytestmark = gpus(2)

# Megatron pads the vocabulary to a multiple of this times TP, and padded entries take part in the softmax.
TENSOR = ("--tensor-model-parallel-size", "2", "--make-vocab-size-divisible-by", "64")
LAYOUTS = {
    "data": ("--use-distributed-optimizer", "--dist-ckpt-optim-fully-reshardable"),
    "tensor": TENSOR,
    "pipeline": ("--pipeline-model-parallel-size", "2"),
}


def compare(on_gpu, kind: str, layouts: dict[str, tuple[str, ...]], *flags: str, ranks: int = 2) -> dict[str, float]:
    """Worst difference of the losses of each layout from those of one rank, all from one checkpoint."""
    sources, own = KINDS[kind]
    on_gpu.data("origin", KINDS["documents"][0])
    on_gpu.train("origin", 80, *flags, "--save-interval", "1", "--exit-interval", "1")
    for name, words in {"serial": (), **layouts}.items():
        on_gpu.start_from("origin", name, kind, sources)
        on_gpu.train(name, 80, *flags, *own, *FRESH, *words, ranks=1 if name == "serial" else ranks)
    serial = on_gpu.losses("serial")
    assert serial[10] < serial[1] - 0.05  # there is something to agree on
    return {name: worst(on_gpu.losses(name), serial) for name in layouts}


def test_layouts_agree_with_one_rank_on_documents(on_gpu):
    """fp32, within 1e-4."""
    differences = compare(on_gpu, "documents", LAYOUTS, *TORCH)
    assert max(differences.values()) < 1e-4, differences


def test_layouts_agree_with_one_rank_on_pairs(on_gpu):
    """fp32, within 1e-4; two data-parallel ranks take other pairs into a micro-batch, so they are left out."""
    layouts = {name: LAYOUTS[name] for name in ("tensor", "pipeline")}
    differences = compare(on_gpu, "pairs", layouts, *TORCH)
    assert max(differences.values()) < 1e-4, differences


@transformer_engine
@pytest.mark.parametrize(
    ("kind", "layout"),
    [
        ("documents", ("--context-parallel-size", "2")),
        ("documents", (*TENSOR, "--sequence-parallel")),
        ("pairs", (*TENSOR, "--sequence-parallel")),
    ],
    ids=["context", "sequence", "sequence, pairs"],
)
def test_context_and_sequence_parallel_agree_with_one_rank(on_gpu, kind, layout):
    """bf16 with Transformer Engine, within 0.03."""
    differences = compare(on_gpu, kind, {"parallel": layout}, *WIDE, "--bf16")
    assert differences["parallel"] < 0.03, differences


@transformer_engine
@pytest.mark.skipif(DEVICES < 4, reason="needs 4 CUDA devices")
def test_context_and_data_parallel_agree_with_one_rank(on_gpu):
    """bf16, within 0.03: the ranks of a context group are not all there are."""
    layouts = {"both": ("--context-parallel-size", "2")}
    differences = compare(on_gpu, "documents", layouts, *WIDE, "--bf16", ranks=4)
    assert differences["both"] < 0.03, differences
