"""tokens/s, TFLOP/s and MFU of a training run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rates:
    """Rates over an interval of a training run."""

    tokens_per_second: float
    """Total of all ranks; padding of packed pairs counts, since it is computed."""
    tflops: float
    """Model TFLOP/s of one rank: recomputation does not count."""
    mfu: float | None
    """Fraction of one device's peak, 0 to 1; None if the peak is unknown."""

    def __str__(self) -> str:
        tflops = f"{self.tflops:,.0f}" if self.tflops >= 100 else f"{self.tflops:.3g}"
        text = f"{self.tokens_per_second:,.0f} tokens/s | {tflops} TFLOP/s per rank"
        return text + (f" | MFU {100 * self.mfu:.1f} %" if self.mfu is not None else "")


def rates(
    samples: int, seconds: float, *, length: int, flops_per_sample: float, ranks: int, peak: float | None
) -> Rates:
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
