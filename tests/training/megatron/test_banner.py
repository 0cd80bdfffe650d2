"""The block that a training prints when it begins, of real training runs and of machines that are not here."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support.megatron_ranks import ServedMegatron

from megatron_sbp.training.megatron import banner as megatron_banner
from megatron_sbp.training.megatron.banner import UNFUSED, StartupBanner

# Embedding; per layer: query, key, value, output, their norms, the SwiGLU, norms of the layer; the last norm.
PARAMETERS = 384 * 32 + 2 * (32 * 64 + 32 * 32 + 2 * 8 + 3 * 32 * 64 + 2 * 32) + 32


def banner(text: str) -> dict[str, str]:
    """Lines of the block by their name."""
    lines = [line.removeprefix("sbp: ") for line in text.splitlines() if line.startswith("sbp: ")]
    names = ("training", "model", "layout", "batch", "data ", "attention", "not fused", "device", "versions")
    found = [line.split("  ", 1) for line in lines if line.startswith(names)]
    return {name.strip(): rest.strip() for name, rest in found}


def test_a_training_on_documents(megatron: ServedMegatron):
    megatron.data("first", {"real": 12, "synthetic": 4})
    found = banner(
        megatron.train("first", 16, "--make-vocab-size-divisible-by", "128", "--exit-interval", "1", status=3)
    )
    assert found["training"] == "first, step 0 of 2"
    assert found["model"].startswith(
        f"{PARAMETERS:,} parameters, HybridModel, 2 layers, hidden size 32, 4 heads in 2 groups, fp32, "
    )
    assert found["layout"] == "1 ranks = data 1 x tensor 1 x pipeline 1 x context 1"
    assert found["batch"] == "8 sequences of 96 tokens = 1 ranks x 4 micro-batches of 2"
    assert found["data real"].startswith("12 samples, ") and found["data synthetic"].startswith("4 samples, ")
    assert found["attention"] == "torch scaled_dot_product_attention"
    assert found["device"] == "CPU, peak not known: no MFU (--sbp-peak-tflops gives one)"
    assert f"torch {torch.__version__.partition('+')[0]}" in found["versions"]
    assert found["not fused"].startswith("nothing is")


def test_two_ranks_count_what_they_share_once(megatron: ServedMegatron):
    megatron.data("pairs", {"pairs": 16}, "pairs")
    flags = ["--calculate-per-token-loss", "--tensor-model-parallel-size", "2", "--sbp-peak-tflops", "0.5"]
    flags += ["--make-vocab-size-divisible-by", "64", "--exit-interval", "1"]
    found = banner(megatron.train("pairs", 16, *flags, ranks=2, status=3))
    assert found["model"].startswith(f"{PARAMETERS:,} parameters, ")
    assert found["layout"] == "2 ranks = data 1 x tensor 2 x pipeline 1 x context 1"
    assert found["attention"] == "torch scaled_dot_product_attention, pair by pair"
    assert found["device"] == "CPU, MFU against 0.5 TFLOP/s (given)"


def start_up(monkeypatch, device: str | None, kind: str = "documents", **arguments) -> StartupBanner:
    """Of a training on a GPU of that name; on CPU ranks for None."""
    plain = dict.fromkeys(("sbp_peak_tflops", "virtual_pipeline_model_parallel_size", "sequence_parallel"))
    plain |= {"use_distributed_optimizer": None, "transformer_impl": "local"}
    trainer = SimpleNamespace(args=SimpleNamespace(**{**plain, **arguments}), data=SimpleNamespace(kind=kind))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: device)
    return StartupBanner(trainer, device is None)  # type: ignore[arg-type]


def test_the_peak_is_the_data_sheets_unless_one_is_given(monkeypatch):
    known = start_up(monkeypatch, "NVIDIA H100 80GB HBM3")
    assert known.peak == 989.4
    assert known._device() == "NVIDIA H100 80GB HBM3, MFU against 989.4 TFLOP/s (dense bf16, data sheet)"
    assert start_up(monkeypatch, "NVIDIA H100 80GB HBM3", sbp_peak_tflops=700.0).peak == 700.0
    assert start_up(monkeypatch, "Some Card").peak is None


def test_attention_and_what_is_not_fused_on_a_gpu(monkeypatch):
    ours = start_up(monkeypatch, "Some Card", "pairs")
    assert ours._attention() == "torch scaled_dot_product_attention, pairs by a mask"
    theirs = start_up(monkeypatch, "Some Card", "pairs", transformer_impl="transformer_engine", bf16=True)
    monkeypatch.setattr(megatron_banner, "has_packed_kernel", lambda dtype: True)
    assert theirs._attention() == "Transformer Engine, pairs by cu_seqlens"
    monkeypatch.setattr(megatron_banner, "has_packed_kernel", lambda dtype: False)
    assert theirs._attention() == "Transformer Engine, pairs by torch's attention and a mask"
    there: set[str] = set()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: Path() if name in there else None)
    assert [text.split(" is not installed")[0] for _, text in ours._unfused()] == [name for _, name, _ in UNFUSED]
    there.add("transformer_engine")
    assert [text.split(":")[0] for _, text in ours._unfused()] == ["Apex is not installed"]


@pytest.mark.parametrize(
    ("arguments", "end"),
    [
        ({"virtual_pipeline_model_parallel_size": 2}, "context 1, 2 virtual stages"),
        ({"sequence_parallel": True, "use_distributed_optimizer": True}, "sequence parallel, distributed optimizer"),
    ],
)
def test_the_layout_names_what_is_on(monkeypatch, arguments, end):
    sizes = {"world_size": 8, "data_parallel_size": 2, "tensor_model_parallel_size": 2}
    sizes |= {"pipeline_model_parallel_size": 2, "context_parallel_size": 1}
    layout = start_up(monkeypatch, None, **sizes, **arguments)._layout()
    assert layout.startswith("8 ranks = data 2 x tensor 2 x pipeline 2 x context 1") and layout.endswith(end)
