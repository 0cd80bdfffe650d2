"""Rates, and the peaks that they are compared with."""

from __future__ import annotations

import pytest

from megatron_sbp.training.throughput import peak_tflops, rates


@pytest.mark.parametrize(
    "name, peak",
    [
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA H200", 989.4),
        ("NVIDIA GH200 480GB", 989.4),
        ("NVIDIA H20", 148.0),
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA L40S", 362.0),
        ("NVIDIA B200", 2250.0),
        ("NVIDIA GeForce RTX 4090", None),
        ("CPU", None),
    ],
)
def test_peaks_by_the_names_that_torch_gives(name, peak):
    assert peak_tflops(name) == peak


def test_rates():
    found = rates(samples=8, seconds=2.0, length=100, flops_per_sample=1e12, ranks=4, peak=2.0)
    assert found.tokens_per_second == 400 and found.tflops == 1.0 and found.mfu == 0.5
    assert str(found) == "400 tokens/s | 1 TFLOP/s per rank | MFU 50.0 %"
    assert rates(8, 2.0, 100, 1e12, 4, None).mfu is None
