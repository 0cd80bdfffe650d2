"""Rates of a training."""

from __future__ import annotations

from megatron_sbp.training.throughput import rates


def test_rates():
    found = rates(samples=8, seconds=2.0, length=100, flops_per_sample=1e12, ranks=4, peak=2.0)
    assert found.tokens_per_second == 400 and found.tflops == 1.0 and found.mfu == 0.5
    assert str(found) == "400 tokens/s | 1 TFLOP/s per rank | MFU 50.0 %"
    assert rates(8, 2.0, length=100, flops_per_sample=1e12, ranks=4, peak=None).mfu is None
    assert "| 1,125 TFLOP/s per rank" in str(
        rates(1, 1.0, length=100, flops_per_sample=1125e12, ranks=1, peak=None)
    )  # not 1.12e+03
