"""tokens/s, TFLOP/s and MFU of a training, and the peak of the device they are compared with."""

from __future__ import annotations

from dataclasses import dataclass

PEAK_TFLOPS = {
    "B200": 2250.0,
    "GB200": 2500.0,
    "H200": 989.4,
    "GH200": 989.4,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.4,
    "H20": 148.0,
    "A100": 312.0,
    "A800": 312.0,
    "L40S": 362.0,
    "L40": 181.0,
    "A40": 149.7,
    "A30": 165.0,
    "A10": 125.0,
    "L4": 121.0,
    "MI300X": 1307.4,
}
"""Dense bf16 TFLOP/s of the data sheets, without sparsity, by a part of the device's name; longer parts come first."""


def peak_tflops(device: str) -> float | None:
    """Peak of a device by the name that torch gives it, in dense bf16 TFLOP/s; None where it is not known."""
    words = device.replace("-", " ").replace("NVIDIA", " ").split()
    text = f" {' '.join(words)} "
    for part in sorted(PEAK_TFLOPS, key=len, reverse=True):
        if f" {part} " in text:
            return PEAK_TFLOPS[part]
    return None


@dataclass(frozen=True)
class Rates:
    """Rates of an interval of a training."""

    tokens_per_second: float
    """All ranks together; padding of packed pairs counts, as it is computed."""
    tflops: float
    """Model TFLOP/s of one rank: recomputation does not count."""
    mfu: float | None
    """Share of the peak of one device, 0 to 1; None where the peak is not known."""

    def __str__(self) -> str:
        text = f"{self.tokens_per_second:,.0f} tokens/s | {self.tflops:,.3g} TFLOP/s per rank"
        return text + (f" | MFU {100 * self.mfu:.1f} %" if self.mfu is not None else "")


def rates(samples: int, seconds: float, length: int, flops_per_sample: float, ranks: int, peak: float | None) -> Rates:
    """Rates over `samples` sequences of `length` tokens that took `seconds`.

    Args:
        samples: sequences of all ranks together.
        seconds: wall-clock time of the training steps; evaluations and checkpoints do not count.
        length: tokens of a sequence.
        flops_per_sample: model FLOPs of a sequence, forward and backward.
        ranks: devices.
        peak: TFLOP/s of one device.
    """
    tflops = samples * flops_per_sample / seconds / ranks / 1e12
    return Rates(samples * length / seconds, tflops, tflops / peak if peak else None)
